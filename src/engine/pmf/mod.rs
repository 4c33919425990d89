//! Score distributions and the probability of each being highest.
//!
//! P(a has the highest draw) = integral of f_a prod_{b != a} F_b (Thompson, 1933), twice: [`mod@reference`] evaluates
//! every distribution exactly, [`serving`] by tables made once per snapshot. Both bisect where the probability that
//! all draws are below still grows, so that arms whose scales differ by orders of magnitude cost a few bisections.

mod axis;
pub mod curve;
pub mod distribution;
mod lattice;
mod panels;
pub mod reference;
pub mod serving;
