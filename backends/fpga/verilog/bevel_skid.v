// A register slice of two beats: neither valid nor ready passes it within a cycle.
module bevel_skid #(
    parameter WIDTH = 8
) (
    input  wire             clk,
    input  wire             rst,
    input  wire [WIDTH-1:0] s_data,
    input  wire             s_valid,
    output wire             s_ready,
    output wire [WIDTH-1:0] m_data,
    output wire             m_valid,
    input  wire             m_ready
);
  reg [WIDTH-1:0] front, back;
  reg front_full, back_full;

  assign s_ready = !back_full;
  assign m_valid = front_full;
  assign m_data  = front;

  wire enters = s_valid && s_ready;
  wire leaves = m_valid && m_ready;

  always @(posedge clk) begin
    if (leaves || !front_full) front <= back_full ? back : s_data;
    if (enters) back <= s_data;
  end

  always @(posedge clk)
    if (rst) begin
      front_full <= 1'b0;
      back_full  <= 1'b0;
    end else if (leaves || !front_full) begin
      front_full <= back_full || enters;
      back_full  <= 1'b0;
    end else if (enters) begin
      back_full <= 1'b1;
    end
endmodule
