// A queue of CAPACITY beats, at least 3: a memory, and the register that it is read into.
//
// With BEVEL_BENCH a simulation may lower the capacity (+<NAME>=N), close it at random (+stall=SEED), and says in the end
// how many beats it held at most.
module bevel_fifo #(
    parameter WIDTH = 8,
    parameter CAPACITY = 3,
    /* verilator lint_off UNUSEDPARAM */  // but by simulations
    parameter NAME = "fifo"
    /* verilator lint_on UNUSEDPARAM */
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
  localparam DEPTH = CAPACITY - 1;
  localparam PLACE = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam COUNT = $clog2(CAPACITY + 1);
  localparam [PLACE-1:0] LAST = PLACE'(DEPTH - 1);

  reg [WIDTH-1:0] memory[0:DEPTH-1];
  reg [WIDTH-1:0] front;
  reg [PLACE-1:0] write_at, read_at;
  reg [COUNT-1:0] held;  // in the memory and in front
  reg front_full;

`ifdef BEVEL_BENCH
  integer limit, peak, seed;
  reg open;
  initial begin
    peak = 0;
    open = 1'b1;
    if (!$value$plusargs({NAME, "=%d"}, limit)) limit = CAPACITY;
    if (!$value$plusargs("stall=%d", seed)) seed = 0;
  end
  always @(posedge clk) begin
    if (32'(held) > peak) peak <= 32'(held);
    open <= seed == 0 || $urandom % 4 != 0;
  end
  final $display("peak %0d of %s", peak, NAME);
  wire room = open && 32'(held) < limit;
`else
  wire room = held != COUNT'(CAPACITY);
`endif

  assign s_ready = room;
  assign m_valid = front_full;
  assign m_data  = front;

  wire enters = s_valid && s_ready;
  wire leaves = m_valid && m_ready;
  wire stored = held != {{(COUNT - 1) {1'b0}}, front_full};  // whether the memory holds a beat
  wire fetch = stored && (!front_full || leaves);

  always @(posedge clk) begin
    if (enters) memory[write_at] <= s_data;
    if (fetch) front <= memory[read_at];
  end

  always @(posedge clk)
    if (rst) begin
      write_at   <= {PLACE{1'b0}};
      read_at    <= {PLACE{1'b0}};
      held       <= {COUNT{1'b0}};
      front_full <= 1'b0;
    end else begin
      if (enters) write_at <= write_at == LAST ? {PLACE{1'b0}} : write_at + 1'b1;
      if (fetch) read_at <= read_at == LAST ? {PLACE{1'b0}} : read_at + 1'b1;
      held <= held + {{(COUNT - 1) {1'b0}}, enters} - {{(COUNT - 1) {1'b0}}, leaves};
      front_full <= fetch || (front_full && !leaves);
    end
endmodule
