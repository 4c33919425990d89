//! Special functions and arithmetic, bit-identical on every platform.
