// One stream read by two: a beat leaves when both have taken it, each in its own time.
module bevel_fork #(
    parameter WIDTH = 8
) (
    input  wire             clk,
    input  wire             rst,
    input  wire [WIDTH-1:0] s_data,
    input  wire             s_valid,
    output wire             s_ready,
    output wire [WIDTH-1:0] a_data,
    output wire             a_valid,
    input  wire             a_ready,
    output wire [WIDTH-1:0] b_data,
    output wire             b_valid,
    input  wire             b_ready
);
  reg a_taken, b_taken;

  assign a_data  = s_data;
  assign b_data  = s_data;
  assign a_valid = s_valid && !a_taken;
  assign b_valid = s_valid && !b_taken;
  assign s_ready = (a_taken || a_ready) && (b_taken || b_ready);

  always @(posedge clk)
    if (rst || (s_valid && s_ready)) begin
      a_taken <= 1'b0;
      b_taken <= 1'b0;
    end else begin
      if (a_valid && a_ready) a_taken <= 1'b1;
      if (b_valid && b_ready) b_taken <= 1'b1;
    end
endmodule
