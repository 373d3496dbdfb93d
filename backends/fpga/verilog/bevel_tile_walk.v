// Where a tile's sums find their elements: six loops, and how far each of them moves address, column and row.
//
// From the inner one: channels, columns and rows of a window, digits of weights (whose sums are shifted), columns and
// rows of results. A step a cycle, but results no closer to each other than TURNS cycles.
module bevel_tile_walk #(
    parameter TURNS = 4
) (
    input  wire         clk,
    input  wire         rst,
    input  wire         start,
    input  wire [ 15:0] start_at,
    input  wire [ 15:0] start_x,
    input  wire [ 15:0] start_y,
    input  wire [383:0] start_loops,  // of each loop its length, and what it adds to address, x and y
    output wire         go,           // a step is made
    output reg  [ 15:0] at,
    output reg  [ 15:0] x,
    output reg  [ 15:0] y,
    output reg          first,        // step of a result
    output reg          digit,        // of a further digit
    output wire         last,         // step of a result
    output reg          begins,       // the first result of the tile
    output wire         ends          // the last one
);
  localparam PACE = $clog2(TURNS + 1);
  reg running;
  reg [383:0] loops;
  reg [PACE-1:0] pace;  // cycles until a result may begin
  reg [5:0] at_end;
  wire [6:0] inner = {&at_end, &at_end[4:0], &at_end[3:0], &at_end[2:0], &at_end[1:0], at_end[0], 1'b1};
  wire [6:0] carry = go ? inner : 7'd0;
  reg [47:0] moves;
  integer n;

  assign go = running && !(first && pace != {PACE{1'b0}});
  assign last = carry[4];
  assign ends = carry[6];

  always @(*) begin
    moves = 48'd0;
    for (n = 0; n < 6; n = n + 1) if (inner[n] && !at_end[n]) moves = moves | loops[64*n+16+:48];
  end

  genvar level;
  generate
    for (level = 0; level < 6; level = level + 1) begin : nested
      wire [15:0] own = loops[64*level+:16];
      wire [15:0] given = start_loops[64*level+:16];
      reg [15:0] left;
      always @(posedge clk)
        if (start) begin
          left          <= given;
          at_end[level] <= given == 16'd1;
        end else if (carry[level]) begin
          left          <= at_end[level] ? own : left - 16'd1;
          at_end[level] <= at_end[level] ? own == 16'd1 : left == 16'd2;
        end
    end
  endgenerate

  always @(posedge clk)
    if (start) begin
      loops  <= start_loops;
      at     <= start_at;
      x      <= start_x;
      y      <= start_y;
      first  <= 1'b1;
      digit  <= 1'b0;
      begins <= 1'b1;
    end else if (go) begin
      at     <= at + moves[15:0];
      x      <= x + moves[31:16];
      y      <= y + moves[47:32];
      first  <= carry[4];
      digit  <= carry[3] && !at_end[3];
      begins <= begins && !carry[4];
    end

  always @(posedge clk)
    if (rst) begin
      running <= 1'b0;
      pace    <= {PACE{1'b0}};
    end else begin
      if (start) running <= 1'b1;
      else if (carry[6]) running <= 1'b0;
      if (go && first) pace <= PACE'(TURNS - 1);
      else if (pace != {PACE{1'b0}}) pace <= pace - 1'b1;
    end
endmodule
