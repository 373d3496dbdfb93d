// Reads a program from memory from its first beat to its last, again and again, ahead of who takes it: an AXI read
// master. Of what is asked for there is always room. The base is a multiple of 4096 bytes: no burst passes one.
module bevel_program_reader #(
    parameter BUS = 64,    // bits of a beat
    parameter BEATS = 16,  // of the program
    parameter BURST = 16,
    parameter ROOM = 64    // beats
) (
    input  wire           clk,
    input  wire           rst,
    input  wire [   31:0] base,
    input  wire           run,      // from then on
    output wire [   31:0] araddr,
    output wire [    7:0] arlen,
    output reg            arvalid,
    input  wire           arready,
    input  wire [BUS-1:0] rdata,
    input  wire           rvalid,
    output wire           rready,
    output wire [BUS-1:0] m_data,
    output wire           m_valid,
    input  wire           m_ready
);
  localparam COUNT = $clog2(ROOM + 1);
  reg [31:0] at, left;      // bytes from the base, beats to the end
  reg [COUNT-1:0] room;     // beats that are neither asked for nor held
  reg ran;
  wire runs = run || ran;
  wire ends = left <= 32'(BURST);
  wire [31:0] length = ends ? left : 32'(BURST);
  wire asks = arvalid && arready;
  wire taken = m_valid && m_ready;

  assign araddr = base + at;
  assign arlen  = 8'(length - 32'd1);

  always @(posedge clk)
    if (rst) begin
      at      <= 32'd0;
      left    <= 32'(BEATS);
      room    <= COUNT'(ROOM);
      arvalid <= 1'b0;
      ran     <= 1'b0;
    end else begin
      ran  <= runs;
      room <= room + COUNT'(taken) - (asks ? COUNT'(length) : {COUNT{1'b0}});
      arvalid <= arvalid ? !arready : runs && room >= COUNT'(BURST);
      if (asks) begin
        at   <= ends ? 32'd0 : at + 32'(BURST * BUS / 8);
        left <= ends ? 32'(BEATS) : left - 32'(BURST);
      end
    end

  bevel_fifo #(
      .WIDTH(BUS),
      .CAPACITY(ROOM),
      .NAME("program_fifo")
  ) beats (
      .clk(clk),
      .rst(rst),
      .s_data(rdata),
      .s_valid(rvalid),
      .s_ready(rready),
      .m_data(m_data),
      .m_valid(m_valid),
      .m_ready(m_ready)
  );
endmodule
