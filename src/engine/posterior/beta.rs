//! Beta posterior of a reward in [0, 1].

/// Beta(alpha, beta), both above 0 and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BetaPrior {
    /// First shape parameter.
    pub alpha: f64,
    /// Second shape parameter.
    pub beta: f64,
}
#[derive(Clone, Copy, Debug)]
pub struct BetaPosterior {
    pub alpha: f64,
    pub beta: f64,
}
impl BetaPosterior {
    pub fn new(p: BetaPrior, _m: &super::moments::Moments) -> Self {
        Self { alpha: p.alpha, beta: p.beta }
    }
}
