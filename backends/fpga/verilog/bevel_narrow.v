// One beat as TIMES narrower ones, the lowest part first.
module bevel_narrow #(
    parameter WIDTH = 8,
    parameter TIMES = 2
) (
    input  wire                   clk,
    input  wire                   rst,
    input  wire [TIMES*WIDTH-1:0] s_data,
    input  wire                   s_valid,
    output wire                   s_ready,
    output wire [      WIDTH-1:0] m_data,
    output wire                   m_valid,
    input  wire                   m_ready
);
  localparam COUNT = $clog2(TIMES + 1);
  reg [TIMES*WIDTH-1:0] held;
  reg [COUNT-1:0] left;
  wire last = left == {{(COUNT - 1) {1'b0}}, 1'b1};

  assign m_valid = left != {COUNT{1'b0}};
  assign m_data  = held[WIDTH-1:0];
  assign s_ready = !m_valid || (last && m_ready);
  wire enters = s_valid && s_ready;

  always @(posedge clk)
    if (enters) held <= s_data;
    else if (m_ready) held <= {{WIDTH{1'b0}}, held[TIMES*WIDTH-1:WIDTH]};

  always @(posedge clk)
    if (rst) left <= {COUNT{1'b0}};
    else if (enters) left <= COUNT'(TIMES);
    else if (m_valid && m_ready) left <= left - 1'b1;
endmodule
