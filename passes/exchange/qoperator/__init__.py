"""Models of quantized operators (QLinearConv, ...), read as QuantizeLinear and DequantizeLinear around float ones."""
