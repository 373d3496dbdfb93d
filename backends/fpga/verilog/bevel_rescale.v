// sum * multiplier / 2**(shift + 1), to the nearest, half up or to even; moved, and within low to high.
//
// multiplier and shift come with their sum; wide a clock behind it, even 6, zero_point 7, low and high 8. wide:
// what is less than 2**17 from between two integers, of the product, lies there.
module bevel_rescale (
    input  wire               clk,
    input  wire signed [31:0] sum,
    input  wire        [30:0] multiplier,
    input  wire        [ 5:0] shift,
    input  wire               wide,
    input  wire               even,
    input  wire signed [ 7:0] zero_point,
    input  wire signed [ 7:0] low,
    input  wire signed [ 7:0] high,
    output reg signed  [ 7:0] y
);
  reg signed [49:0] low_part;
  reg signed [46:0] high_part;
  reg signed [63:0] total, fine, middle, coarse;
  wire [47:0] upper = {47'(high_part), 1'b1} + {47'(low_part >>> 17), wide};
  reg [5:0] shift1, shift2;
  reg [3:0] shift3;
  reg [1:0] shift4;
  reg lost3, lost4, lost5, lost6;
  reg signed [13:0] near, rounded, placed;
  wire [2:0] fine_lost = total[2:0] & ~(3'b111 << shift2[1:0]);
  wire [11:0] middle_lost = fine[11:0] & ~(12'hfff << {shift3[1:0], 2'd0});
  wire [47:0] coarse_lost = middle[47:0] & ~({48{1'b1}} << {shift4, 4'd0});
  wire far = coarse[63:13] != {51{coarse[63]}};

  always @(posedge clk) begin
    low_part  <= 50'(sum) * 50'($signed({1'b0, multiplier[16:0]}));
    high_part <= 47'(sum) * 47'($signed({1'b0, multiplier[30:17]}));
    shift1    <= shift;
    total     <= {upper[47:2], upper[1] && !wide, wide ? 17'd0 : low_part[16:0]};
    shift2    <= shift1;
    fine      <= total >>> shift2[1:0];
    lost3     <= fine_lost != 3'd0;
    shift3    <= shift2[5:2];
    middle    <= fine >>> {shift3[1:0], 2'd0};
    lost4     <= lost3 || middle_lost != 12'd0;
    shift4    <= shift3[3:2];
    coarse    <= middle >>> {shift4, 4'd0};
    lost5     <= lost4 || coarse_lost != 48'd0;
    near      <= far ? {coarse[63], {13{!coarse[63]}}} : coarse[13:0];
    lost6     <= lost5;
    rounded   <= (near >>> 1) + $signed({13'd0, near[0] && (!even || lost6 || near[1])});
    placed    <= rounded + 14'(zero_point);
    y         <= placed < 14'(low) ? low : placed > 14'(high) ? high : placed[7:0];
  end
endmodule
