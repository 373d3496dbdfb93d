// One matrix-vector unit that computes a network tile after tile, as a program says that is read from memory: weights
// of the next tile come while one is computed. Activations stay here, words of LANES bytes.
module bevel_overlay #(
    parameter LANES = 8,
    parameter PER = 2,      // rescalings beside each other
    parameter WORDS = 64,   // of weights in a bank, a power of two
    parameter HELD = 1024,  // words of activations
    parameter INPUTS = 1,
    parameter OUTPUTS = 1,
    parameter TABLES = 1,
    parameter PAIRS = 1,    // whether there are tiles of two tensors
    parameter DOT = 4,
    parameter BITS = 19,
    parameter BUS = 8 * LANES
) (
    input  wire                  clk,
    input  wire                  rst,
    input  wire                  run,      // frames may begin
    output wire                  begun,    // one begins
    output reg                   finished, // all of it has left
    input  wire [       BUS-1:0] program_data,
    input  wire                  program_valid,
    output wire                  program_ready,
    input  wire [INPUTS*BUS-1:0] s_data,
    input  wire [    INPUTS-1:0] s_valid,
    output wire [    INPUTS-1:0] s_ready,
    output wire [       BUS-1:0] m_data,
    output wire [   OUTPUTS-1:0] m_valid,
    input  wire [   OUTPUTS-1:0] m_ready
);
  localparam FIELDS = 36, PLACE = $clog2(LANES), WORD = $clog2(WORDS), AT = $clog2(HELD);
  localparam HEADER = (2 * FIELDS + LANES - 1) / LANES;
  localparam SOURCE = INPUTS > 1 ? $clog2(INPUTS) : 1, SINK = OUTPUTS > 1 ? $clog2(OUTPUTS) : 1;
  localparam [1:0] IDLE = 2'd0, COMPUTE = 2'd1, LOAD = 2'd2, STORE = 2'd3;

  // A tile ahead.
  wire [HEADER*BUS-1:0] header;
  wire loaded, load_bank, filling, weigh, rescale, look;
  wire [PLACE-1:0] output_at;
  wire [WORD-1:0] word_at;
  wire [127:0] channel;
  wire [7:0] entry_at;
  reg [1:0] busy;
  wire start;
  bevel_tile_loader #(
      .LANES(LANES),
      .FIELDS(FIELDS),
      .WORDS(WORDS)
  ) loader (
      .clk(clk),
      .rst(rst),
      .s_data(program_data),
      .s_valid(program_valid),
      .s_ready(program_ready),
      .header(header),
      .loaded(loaded),
      .start(start),
      .bank(load_bank),
      .busy(busy),
      .filling(filling),
      .weigh(weigh),
      .output_at(output_at),
      .word_at(word_at),
      .rescale(rescale),
      .channel(channel),
      .look(look),
      .entry_at(entry_at)
  );

  // Which tile is at work.
  reg [1:0] state;
  reg [3:0] stream;
  reg [15:0] flight;  // results on their way
  reg bank, hold, maximum;
  reg [3:0] paired;  // there is a second tensor, it moves, is spread, is multiplied by
  reg [15:0] pair_at;
  reg [7:0] fill;
  reg [15:0] width, height;
  reg [58:0] tiles[0:1];
  wire [1:0] kind = header[1:0];
  wire write, write_ends, write_bank, last, ends, go, moved;
  reg [15:0] moving, move_at;  // words still to move, and where
  reg shown;                   // a word is offered to an output
  wire sent = m_ready[stream[SINK-1:0]];
  wire waits = (header[8] && flight != 16'd0) || (header[13] && !run);
  reg final_tile;
  assign start = loaded && state == IDLE && !waits;
  assign begun = start && header[13];
  always @(posedge clk) if (start) final_tile <= header[14];
  always @(posedge clk)
    if (rst) finished <= 1'b0;
    else finished <= state == STORE && final_tile && moving == 16'd0 && (!shown || sent);

  always @(posedge clk)
    if (rst) state <= IDLE;
    else if (state == IDLE) begin
      if (start) state <= kind == 2'd0 ? COMPUTE : kind == 2'd1 ? LOAD : STORE;
    end else if (state == COMPUTE) begin
      if (ends) state <= IDLE;
    end else if (state == LOAD) begin
      if (moved && moving == 16'd1) state <= IDLE;
    end else if (moving == 16'd0 && (!shown || sent)) state <= IDLE;

  always @(posedge clk)
    if (start) begin
      stream  <= header[7:4];
      hold    <= header[9];
      maximum <= header[10];
      fill    <= header[112+:8];
      paired  <= header[7:4];
      width   <= header[80+:16];
      height  <= header[96+:16];
      moving  <= header[192+:16];
      move_at <= kind == 2'd1 ? header[160+:16] : header[32+:16];
      if (kind == 2'd0) begin
        bank <= load_bank;
        tiles[load_bank] <= {
          header[15], header[11], header[12], header[144+:16], header[120+:8], header[176+:16], header[160+:16]
        };
      end
    end else if (moved) begin
      moving  <= moving - 16'd1;
      move_at <= move_at + 16'd1;
    end

  always @(posedge clk)
    if (rst) begin
      busy   <= 2'd0;
      flight <= 16'd0;
    end else begin
      if (filling) busy[load_bank] <= 1'b1;
      if (write && write_ends) busy[write_bank] <= 1'b0;
      flight <= flight + {15'd0, go && last} - {15'd0, write};
    end

  // Where it reads.
  wire [15:0] at, x, y;
  wire first, digit, begins;
  bevel_tile_walk #(
      .TURNS(LANES / PER)
  ) walk (
      .clk(clk),
      .rst(rst),
      .start(start && kind == 2'd0),
      .start_at(header[32+:16]),
      .start_x(header[48+:16]),
      .start_y(header[64+:16]),
      .start_loops(header[192+:384]),
      .go(go),
      .at(at),
      .x(x),
      .y(y),
      .first(first),
      .digit(digit),
      .last(last),
      .begins(begins),
      .ends(ends)
  );

  // Of two tensors one is read at even columns, where it says.
  wire of_pair = PAIRS != 0 && paired[0] && !x[0];
  always @(posedge clk)
    if (start) pair_at <= header[128+:16];
    else if (last && paired[1]) pair_at <= pair_at + 16'd1;

  // Activations.
  reg [BUS-1:0] memory[0:HELD-1];
  reg [BUS-1:0] word;
  wire [BUS-1:0] write_word;
  wire [15:0] write_at;
  wire takes = state == LOAD && s_valid[stream[SOURCE-1:0]];
  wire offers = state == STORE && moving != 16'd0 && (!shown || sent);
  wire [AT-1:0] read_at = state == STORE ? move_at[AT-1:0] : of_pair ? pair_at[AT-1:0] : at[AT-1:0];
  assign moved = takes || offers;
  assign m_data = word;
  always @(posedge clk) begin
    if (takes || write)
      memory[takes ? move_at[AT-1:0] : write_at[AT-1:0]] <= takes ? s_data[32'(stream[SOURCE-1:0])*BUS+:BUS] : write_word;
    if (state != STORE || offers) word <= memory[read_at];
  end
  always @(posedge clk)
    if (rst) shown <= 1'b0;
    else shown <= offers || (shown && !sent);
  genvar port;
  generate
    for (port = 0; port < INPUTS; port = port + 1) begin : from
      assign s_ready[port] = state == LOAD && stream == 4'(port);
    end
    for (port = 0; port < OUTPUTS; port = port + 1) begin : to
      assign m_valid[port] = shown && stream == 4'(port);
    end
  endgenerate

  // Sums and results.
  wire whole, whole_bank, whole_begins, whole_ends;
  wire [32*LANES-1:0] sums;
  bevel_tile_sums #(
      .LANES(LANES),
      .WORDS(WORDS),
      .PAIRS(PAIRS),
      .DOT(DOT),
      .BITS(BITS)
  ) products (
      .clk(clk),
      .rst(rst),
      .weigh(weigh),
      .load_bank(load_bank),
      .output_at(output_at),
      .word_at(word_at),
      .weights(program_data),
      .go(go),
      .bank(bank),
      .hold(hold),
      .maximum(maximum),
      .spread(paired[2]),
      .multiplies(paired[3]),
      .fill(fill),
      .on_image(x < width && y < height),
      .first(first),
      .digit(digit),
      .last(last),
      .begins(begins),
      .ends(ends),
      .word(word),
      .whole(whole),
      .sums(sums),
      .whole_bank(whole_bank),
      .whole_begins(whole_begins),
      .whole_ends(whole_ends)
  );
  bevel_tile_results #(
      .LANES(LANES),
      .PER(PER),
      .TABLES(TABLES)
  ) results (
      .clk(clk),
      .rst(rst),
      .whole(whole),
      .sums(sums),
      .bank(whole_bank),
      .begins(whole_begins),
      .ends(whole_ends),
      .rescale(rescale),
      .load_bank(load_bank),
      .output_at(output_at),
      .channel(channel),
      .look(look),
      .entries(program_data),
      .entry_at(entry_at),
      .tiles({tiles[1], tiles[0]}),
      .write(write),
      .write_at(write_at),
      .write_word(write_word),
      .write_ends(write_ends),
      .write_bank(write_bank)
  );
endmodule
