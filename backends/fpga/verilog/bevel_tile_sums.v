// LANES sums over LANES elements a step, by weights of the bank that a tile is in.
//
// Each step brings an address of activations, read by who holds them, and comes back as a word a clock later.
module bevel_tile_sums #(
    parameter LANES = 8,
    parameter WORDS = 64,    // of weights in a bank
    parameter PAIRS = 1,     // whether there are products of two tensors
    parameter DOT = 4,       // clocks of a sum of products
    parameter BITS = 19,     // of such a sum
    parameter BUS = 8 * LANES,
    parameter PLACE = $clog2(LANES),
    parameter WORD = $clog2(WORDS)
) (
    input  wire                clk,
    input  wire                rst,
    input  wire                weigh,      // weights come, for output `output_at`
    input  wire                load_bank,
    input  wire [   PLACE-1:0] output_at,
    input  wire [    WORD-1:0] word_at,
    input  wire [     BUS-1:0] weights,
    input  wire                go,         // a step
    input  wire                bank,
    input  wire                hold,       // the tile has one word of weights
    input  wire                maximum,    // the largest is found, not a sum
    input  wire                multiplies, // the last step of a result is by the elements of the one before it
    input  wire                spread,     // by their first
    input  wire [         7:0] fill,       // of elements outside of an image
    input  wire                on_image,
    input  wire                first,
    input  wire                digit,
    input  wire                last,
    input  wire                begins,
    input  wire                ends,
    input  wire [     BUS-1:0] word,       // elements of the step before
    output wire                whole,
    output wire [32*LANES-1:0] sums,
    output wire                whole_bank,
    output wire                whole_begins,
    output wire                whole_ends
);
  localparam DEPTH = DOT + 2;  // clocks from a step to its sums of products

  // Which word of weights.
  reg [WORD-1:0] weight_at;
  always @(posedge clk)
    if (rst) weight_at <= {WORD{1'b0}};
    else if (go) weight_at <= last || hold ? {WORD{1'b0}} : weight_at + 1'b1;

  // Elements, or what padding holds.
  reg on_image1;
  reg [7:0] fill1;
  reg [BUS-1:0] elements;
  always @(posedge clk) begin
    on_image1  <= on_image;
    fill1    <= fill;
    elements <= on_image1 ? word : {LANES{fill1}};
  end

  // What weighs the elements of a step: weights, or the elements of the step before, each its own lane.
  reg by_elements, by_first;
  always @(posedge clk) begin
    by_elements <= PAIRS != 0 && multiplies && last;
    by_first    <= spread;
  end

  // What comes with a step, clock by clock: going, last, first, digit, maximum, bank, begins, ends.
  reg [8*DEPTH+7:0] comes;
  always @(posedge clk)
    if (rst) comes <= {8 * DEPTH + 8{1'b0}};
    else comes <= {comes[8*DEPTH-1:0], go, go && last, first, digit, maximum, bank, begins, ends};
  wire [7:0] now = comes[8*DEPTH-8+:8], summed = comes[8*DEPTH+:8];
  assign whole = summed[6];
  assign whole_bank = summed[2];
  assign whole_begins = summed[1];
  assign whole_ends = summed[0];

  genvar p;
  generate
    for (p = 0; p < LANES; p = p + 1) begin : output_of
      reg [BUS-1:0] rows[0:2*WORDS-1];
      reg [BUS-1:0] row, factors;
      wire [BUS-1:0] own = {{BUS - 8{1'b0}}, by_first ? elements[7:0] : elements[8*p+:8]};
      wire signed [BITS-1:0] product;
      reg signed [31:0] sum;
      wire signed [31:0] wide = 32'(product);
      wire signed [31:0] moved = now[4] ? sum <<< 7 : sum;
      always @(posedge clk) begin
        if (weigh && output_at == PLACE'(p)) rows[{load_bank, word_at}] <= weights;
        row     <= rows[{bank, weight_at}];
        factors <= by_elements ? own << (8 * p) : row;
        if (now[7]) sum <= now[5] ? wide : now[3] ? (wide > sum ? wide : sum) : moved + wide;
      end
      bevel_tile_dot products (
          .clk(clk),
          .en(1'b1),
          .x(elements),
          .w(factors),
          .y(product)
      );
      assign sums[32*p+:32] = sum;
    end
  endgenerate
endmodule
