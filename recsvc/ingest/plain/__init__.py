"""The fast path for plain lines, which must agree with the record reader."""
