// Elements of a stream as words of LANES bytes, each pixel's from a word of its own on.
module bevel_frame_in #(
    parameter LANES = 8,
    parameter BITS = 8,   // of an element of the stream
    parameter BEAT = 3,   // elements
    parameter FULL = 1,   // beats of a word
    parameter LAST = 1,   // beats of a pixel's last word
    parameter WORDS = 1   // of a pixel
) (
    input  wire                 clk,
    input  wire                 rst,
    input  wire [BEAT*BITS-1:0] s_data,
    input  wire                 s_valid,
    output wire                 s_ready,
    output reg  [  8*LANES-1:0] m_data,
    output reg                  m_valid,
    input  wire                 m_ready
);
  localparam COUNT = $clog2(FULL + 1), WORD = $clog2(WORDS + 1);
  reg [COUNT-1:0] beat;
  reg [WORD-1:0] word;
  wire last_word = word == WORD'(WORDS - 1);
  wire last = beat == (last_word ? COUNT'(LAST - 1) : COUNT'(FULL - 1));
  wire enters = s_valid && s_ready;
  assign s_ready = !m_valid || m_ready;

  genvar e;
  generate
    for (e = 0; e < BEAT * FULL; e = e + 1) begin : element
      always @(posedge clk)
        if (enters && beat == COUNT'(e / BEAT)) m_data[8*e+:8] <= 8'($signed(s_data[BITS*(e%BEAT)+:BITS]));
    end
    if (BEAT * FULL < LANES) begin : spare
      always @(posedge clk) m_data[8*LANES-1:8*BEAT*FULL] <= {8 * (LANES - BEAT * FULL) {1'b0}};
    end
  endgenerate

  always @(posedge clk)
    if (rst) begin
      beat    <= {COUNT{1'b0}};
      word    <= {WORD{1'b0}};
      m_valid <= 1'b0;
    end else begin
      if (enters) begin
        beat <= last ? {COUNT{1'b0}} : beat + 1'b1;
        if (last) word <= last_word ? {WORD{1'b0}} : word + 1'b1;
      end
      m_valid <= enters ? last : m_valid && !m_ready;
    end
endmodule
