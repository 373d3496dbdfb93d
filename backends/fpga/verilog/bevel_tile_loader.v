// Takes a program apart, a tile ahead of the one that is computed: its header, and into the bank that is free weights,
// what rescales its channels, and a table.
//
// A beat has LANES bytes. A header is FIELDS numbers of 16 bits, padded to whole beats; a word of weights a beat for
// each output; a channel 16 bytes; a table 256 bytes.
module bevel_tile_loader #(
    parameter LANES = 8,
    parameter FIELDS = 36,
    parameter WORDS = 64,  // of weights in a bank, a power of two
    parameter BUS = 8 * LANES,
    parameter HEADER = (2 * FIELDS + LANES - 1) / LANES,  // beats
    parameter PLACE = $clog2(LANES),
    parameter WORD = $clog2(WORDS)
) (
    input  wire                  clk,
    input  wire                  rst,
    input  wire [       BUS-1:0] s_data,
    input  wire                  s_valid,
    output wire                  s_ready,
    output reg  [HEADER*BUS-1:0] header,
    output wire                  loaded,      // all of a tile is there
    input  wire                  start,       // it is taken
    output reg                   bank,        // that the tile is in
    input  wire [           1:0] busy,        // banks that are still read
    output wire                  filling,     // the bank is taken
    output wire                  weigh,       // a beat of weights: for output `output_at`, word `word_at`
    output reg  [     PLACE-1:0] output_at,
    output reg  [      WORD-1:0] word_at,
    output wire                  rescale,     // a channel, 128 bits, for output `output_at`
    output wire [         127:0] channel,
    output wire                  look,        // a beat of the table
    output reg  [           7:0] entry_at     // its number
);
  localparam [2:0] HEAD = 3'd0, FREE = 3'd1, WEIGHTS = 3'd2, CHANNELS = 3'd3, TABLE = 3'd4, READY = 3'd5;
  localparam RECORD = 16 / LANES;  // beats of a channel
  localparam [7:0] HEADED = 8'(HEADER - 1), RECORDED = 8'(RECORD - 1), LOOKED = 8'(256 / LANES - 1);
  reg [2:0] state;
  reg [7:0] beat;
  reg [15:0] words;  // of weights still to come, but this one
  wire enters = s_valid && s_ready;
  wire computes = header[1:0] == 2'd0;
  wire tabled = header[11];
  wire last_output = output_at == PLACE'(LANES - 1);

  assign s_ready = state == HEAD || state == WEIGHTS || state == CHANNELS || state == TABLE;
  assign loaded = state == READY;
  assign filling = state == FREE && computes && !busy[bank];
  assign weigh = enters && state == WEIGHTS;
  assign rescale = enters && state == CHANNELS && beat == RECORDED;
  assign look = enters && state == TABLE;
  generate
    if (RECORD == 1) begin : whole
      assign channel = s_data;
    end else begin : parts
      reg [127-BUS:0] held;
      assign channel = {s_data, held};
      always @(posedge clk) if (enters) held <= channel[127:BUS];
    end
  endgenerate

  always @(posedge clk) if (enters && state == HEAD) header <= {s_data, header[HEADER*BUS-1:BUS]};

  always @(posedge clk)
    if (rst) begin
      state <= HEAD;
      bank  <= 1'b0;
      beat  <= 8'd0;
    end else
      case (state)
        HEAD:
        if (enters) begin
          beat <= beat == HEADED ? 8'd0 : beat + 8'd1;
          if (beat == HEADED) state <= FREE;
        end
        FREE:
        if (!computes) state <= READY;
        else if (!busy[bank]) state <= WEIGHTS;
        WEIGHTS: if (enters && last_output && words == 16'd0) state <= CHANNELS;
        CHANNELS:
        if (enters) begin
          beat <= beat == RECORDED ? 8'd0 : beat + 8'd1;
          if (beat == RECORDED && last_output) state <= tabled ? TABLE : READY;
        end
        TABLE: if (enters && entry_at == LOOKED) state <= READY;
        default:
        if (start) begin
          state <= HEAD;
          bank  <= bank ^ computes;
        end
      endcase

  always @(posedge clk)
    if (state == FREE) begin
      words     <= header[31:16] - 16'd1;
      output_at <= {PLACE{1'b0}};
      word_at   <= {WORD{1'b0}};
      entry_at  <= 8'd0;
    end else if (enters) begin
      if (weigh || rescale) output_at <= last_output ? {PLACE{1'b0}} : output_at + 1'b1;
      if (weigh && last_output) begin
        words   <= words - 16'd1;
        word_at <= word_at + 1'b1;
      end
      if (look) entry_at <= entry_at + 8'd1;
    end
endmodule
