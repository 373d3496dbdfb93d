// From a result's LANES sums to a word of LANES bytes: PER rescalings beside each other, in TURNS turns, and a table
// behind them. What belongs to a tile is in the bank that its sums come with.
module bevel_tile_results #(
    parameter LANES = 8,
    parameter PER = 2,
    parameter TABLES = 1,  // whether there are any
    parameter PLACE = $clog2(LANES),
    parameter TURNS = LANES / PER,
    parameter BUS = 8 * LANES
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                whole,       // sums are there
    input  wire [32*LANES-1:0] sums,
    input  wire                bank,        // of their tile
    input  wire                begins,      // they are its first
    input  wire                ends,        // they are its last
    input  wire                rescale,     // a channel's constants come, for output `output_at`
    input  wire                load_bank,
    input  wire [   PLACE-1:0] output_at,
    input  wire [       127:0] channel,
    input  wire                look,        // a beat of a table comes
    input  wire [     BUS-1:0] entries,
    input  wire [         7:0] entry_at,
    input  wire [       117:0] tiles,       // of both banks: out, step, zero_point, low, high, even, table, wide
    output reg                 write,
    output reg  [        15:0] write_at,
    output reg  [     BUS-1:0] write_word,
    output reg                 write_ends,  // the last word of a tile
    output reg                 write_bank
);
  localparam TURN = TURNS > 1 ? $clog2(TURNS) : 1;
  localparam DEPTH = 13;  // registers from a turn to its bytes
  localparam LINES = 256 / LANES;
  localparam LINE = $clog2(LINES);

  // Sums wait for their turn.
  reg [32*LANES-1:0] waiting;
  reg [TURN-1:0] turn;
  reg turning, turn_bank, turn_begins, turn_ends;
  wire last_turn = turn == TURN'(TURNS - 1);
  always @(posedge clk)
    if (whole) waiting <= sums;
    else waiting <= waiting >> (32 * PER);
  always @(posedge clk)
    if (whole) begin
      turn        <= {TURN{1'b0}};
      turn_bank   <= bank;
      turn_begins <= begins;
      turn_ends   <= ends;
    end else turn <= turn + 1'b1;
  always @(posedge clk)
    if (rst) turning <= 1'b0;
    else turning <= whole || (turning && !last_turn);

  // What comes with a turn, register by register.
  reg [DEPTH:1] banks, comes, starts, stops;
  always @(posedge clk) begin
    banks  <= {banks[DEPTH-1:1], turn_bank};
    starts <= {starts[DEPTH-1:1], turn_begins};
    stops  <= {stops[DEPTH-1:1], turn_ends};
  end
  always @(posedge clk)
    if (rst) comes <= {DEPTH{1'b0}};
    else comes <= {comes[DEPTH-1:1], turning && last_turn};
  wire [58:0] tile_wide = tiles[59*banks[3]+:59];
  wire [58:0] tile_even = tiles[59*banks[8]+:59];
  wire [58:0] tile_placed = tiles[59*banks[9]+:59];
  wire [58:0] tile_clamped = tiles[59*banks[10]+:59];
  wire [58:0] tile_looked = tiles[59*banks[12]+:59];
  wire [58:0] tile_written = tiles[59*banks[13]+:59];

  wire [8*PER-1:0] bytes;
  genvar r;
  generate
    for (r = 0; r < PER; r = r + 1) begin : result
      reg [68:0] channels[0:(2<<TURN)-1];
      reg [68:0] known, parameters;
      reg signed [31:0] fed, total;
      wire signed [7:0] y;
      wire mine = rescale && 32'(output_at) % PER == r;
      wire [TURN:0] load_at = {load_bank, TURN'(32'(output_at) / PER)};
      always @(posedge clk) begin
        if (mine) channels[load_at] <= {channel[69:64], channel[62:32], channel[31:0]};
        known      <= channels[{turn_bank, turn}];
        fed        <= waiting[32*r+:32];
        total      <= fed + $signed(known[31:0]);
        parameters <= known;
      end
      bevel_rescale rescaling (
          .clk(clk),
          .sum(total),
          .multiplier(parameters[62:32]),
          .shift(parameters[68:63]),
          .wide(tile_wide[58]),
          .even(tile_even[56]),
          .zero_point(tile_placed[39:32]),
          .low(tile_clamped[47:40]),
          .high(tile_clamped[55:48]),
          .y(y)
      );
      reg [7:0] plain, found;
      always @(posedge clk) plain <= y;
      if (TABLES != 0) begin : table_of
        reg [BUS-1:0] lines[0:2*LINES-1];  // of LANES entries
        reg [BUS-1:0] line;
        wire [7:0] code = y ^ 8'h80;
        reg [PLACE-1:0] entry;
        always @(posedge clk) begin
          if (look) lines[{load_bank, entry_at[LINE-1:0]}] <= entries;
          line  <= lines[{banks[11], code[7:PLACE]}];
          entry <= code[PLACE-1:0];
          found <= tile_looked[57] ? line[8*entry+:8] : plain;
        end
      end else begin : no_table
        always @(posedge clk) found <= plain;
      end
      assign bytes[8*r+:8] = found;
    end
  endgenerate

  // Bytes become a word.
  reg [BUS-1:0] word;
  wire [BUS-1:0] joined = BUS'({bytes, word} >> (8 * PER));
  wire [15:0] next_at = starts[DEPTH] ? tile_written[15:0] : write_at + tile_written[31:16];
  always @(posedge clk) begin
    word       <= joined;
    write_word <= joined;
    write_ends <= stops[DEPTH];
    write_bank <= banks[DEPTH];
    if (comes[DEPTH]) write_at <= next_at;
  end
  always @(posedge clk)
    if (rst) write <= 1'b0;
    else write <= comes[DEPTH];
endmodule
