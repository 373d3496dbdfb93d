// Registers on AXI-Lite, words of 32 bits:
//
//   00  run      bit 0: frames may begin
//   04  busy     bit 0: a frame is on its way
//   08  cycles   of the last frame, from the first of its elements that is stored to the last that leaves
//   0c  frames   that have left since reset
//   10  base     where the program lies, a multiple of 4096: to be written before the first run
module bevel_registers (
    input  wire        clk,
    input  wire        rst,
    input  wire [ 4:0] awaddr,
    input  wire        awvalid,
    output wire        awready,
    input  wire [31:0] wdata,
    input  wire        wvalid,
    output wire        wready,
    output reg         bvalid,
    input  wire        bready,
    input  wire [ 4:0] araddr,
    input  wire        arvalid,
    output wire        arready,
    output reg  [31:0] rdata,
    output reg         rvalid,
    input  wire        rready,
    input  wire        begun,     // a frame begins
    input  wire        finished,  // it has left
    output reg         run,
    output wire [31:0] base
);
  reg busy;
  reg [19:0] page;
  reg [31:0] count, cycles, frames;
  wire writes = awvalid && wvalid && !bvalid;
  assign awready = writes;
  assign wready = writes;
  assign arready = !rvalid;
  assign base = {page, 12'd0};

  always @(posedge clk)
    if (rst) begin
      bvalid <= 1'b0;
      run    <= 1'b0;
      page   <= 20'd0;
    end else begin
      bvalid <= writes || (bvalid && !bready);
      if (writes && awaddr[4:2] == 3'd0) run <= wdata[0];
      if (writes && awaddr[4:2] == 3'd4) page <= wdata[31:12];
    end

  always @(posedge clk)
    if (rst) rvalid <= 1'b0;
    else rvalid <= (arvalid && arready) || (rvalid && !rready);
  always @(posedge clk)
    if (arvalid && arready)
      case (araddr[4:2])
        3'd0: rdata <= {31'd0, run};
        3'd1: rdata <= {31'd0, busy};
        3'd2: rdata <= cycles;
        3'd3: rdata <= frames;
        3'd4: rdata <= base;
        default: rdata <= 32'd0;
      endcase

  always @(posedge clk)
    if (rst) begin
      busy   <= 1'b0;
      count  <= 32'd0;
      cycles <= 32'd0;
      frames <= 32'd0;
    end else begin
      busy  <= begun || (busy && !finished);
      count <= begun ? 32'd1 : count + 32'd1;
      if (finished) begin
        cycles <= count;
        frames <= frames + 32'd1;
      end
    end
endmodule
