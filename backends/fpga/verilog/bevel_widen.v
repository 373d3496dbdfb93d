// TIMES beats side by side in one, the first of them lowest.
module bevel_widen #(
    parameter WIDTH = 8,
    parameter TIMES = 2
) (
    input  wire                   clk,
    input  wire                   rst,
    input  wire [      WIDTH-1:0] s_data,
    input  wire                   s_valid,
    output wire                   s_ready,
    output wire [TIMES*WIDTH-1:0] m_data,
    output wire                   m_valid,
    input  wire                   m_ready
);
  localparam COUNT = $clog2(TIMES + 1);
  reg [TIMES*WIDTH-1:0] held;
  reg [COUNT-1:0] filled;

  assign m_valid = filled == COUNT'(TIMES);
  assign m_data  = held;
  assign s_ready = !m_valid || m_ready;
  wire enters = s_valid && s_ready;

  always @(posedge clk) if (enters) held <= {s_data, held[TIMES*WIDTH-1:WIDTH]};

  always @(posedge clk)
    if (rst) filled <= {COUNT{1'b0}};
    else if (m_valid && m_ready) filled <= {{(COUNT - 1) {1'b0}}, enters};
    else if (enters) filled <= filled + 1'b1;
endmodule
