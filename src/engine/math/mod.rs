//! Special functions and arithmetic, bit-identical on every platform.
//!
//! Nothing here calls the platform's transcendental functions or fused multiply-add: `+ - * /` and the square root
//! are correctly rounded everywhere, and the rest goes through `libm`. Sums run in a fixed order.

pub mod beta;
pub mod cholesky;
pub mod double_double;
pub mod gamma;
pub mod incomplete_gamma;
pub mod ldl;
pub mod normal;
pub mod quadrature;
pub mod real;
pub mod student_t;
pub mod sums;
