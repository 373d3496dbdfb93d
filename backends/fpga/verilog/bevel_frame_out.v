// The inverse of bevel_frame_in: words of LANES bytes as beats of a stream.
module bevel_frame_out #(
    parameter LANES = 8,
    parameter BITS = 8,   // of an element of the stream
    parameter BEAT = 3,   // elements
    parameter FULL = 1,   // beats of a word
    parameter LAST = 1,   // beats of a pixel's last word
    parameter WORDS = 1   // of a pixel
) (
    input  wire                 clk,
    input  wire                 rst,
    input  wire [  8*LANES-1:0] s_data,
    input  wire                 s_valid,
    output wire                 s_ready,
    output wire [BEAT*BITS-1:0] m_data,
    output wire                 m_valid,
    input  wire                 m_ready
);
  localparam COUNT = $clog2(FULL + 1), WORD = $clog2(WORDS + 1);
  reg [8*LANES-1:0] held;
  reg [COUNT-1:0] left;
  reg [WORD-1:0] word;
  wire last_word = word == WORD'(WORDS - 1);
  wire last = left == {{(COUNT - 1) {1'b0}}, 1'b1};
  wire enters = s_valid && s_ready;
  assign m_valid = left != {COUNT{1'b0}};
  assign s_ready = !m_valid || (last && m_ready);

  genvar e;
  generate
    for (e = 0; e < BEAT; e = e + 1) begin : element
      assign m_data[BITS*e+:BITS] = held[8*e+:BITS];
    end
  endgenerate

  always @(posedge clk)
    if (enters) held <= s_data;
    else if (m_ready) held <= held >> (8 * BEAT);

  always @(posedge clk)
    if (rst) begin
      left <= {COUNT{1'b0}};
      word <= {WORD{1'b0}};
    end else begin
      if (enters) begin
        left <= last_word ? COUNT'(LAST) : COUNT'(FULL);
        word <= last_word ? {WORD{1'b0}} : word + 1'b1;
      end else if (m_valid && m_ready) left <= left - 1'b1;
    end
endmodule
