//! Gauss-Legendre quadrature on [-1, 1].
//!
//! Nodes are roots of the Legendre polynomial, found by Newton's method (Abramowitz and Stegun, 1964, 25.4.29).

/// The rule with `N` nodes: exact for polynomials up to degree 2N - 1.
#[derive(Clone, Debug)]
pub struct GaussLegendre<const N: usize> {
    /// Nodes in (-1, 1), ascending and symmetric.
    pub nodes: [f64; N],
    /// Positive weights; they sum to 2.
    pub weights: [f64; N],
}

impl<const N: usize> GaussLegendre<N> {
    /// Computes the rule.
    #[must_use]
    pub fn new() -> Self {
        let mut rule = Self { nodes: [0.0; N], weights: [0.0; N] };
        for index in 0..N.div_ceil(2) {
            let angle = core::f64::consts::PI * (index as f64 + 0.75) / (N as f64 + 0.5);
            let mut node = libm::cos(angle);
            // Quadratic convergence from 3 digits: the fourth step is already below rounding.
            for _ in 0..6 {
                let (value, slope) = legendre(N, node);
                node -= value / slope;
            }
            if 2 * index + 1 == N {
                node = 0.0;
            }
            let (_, slope) = legendre(N, node);
            let weight = 2.0 / ((1.0 - node * node) * slope * slope);
            (rule.nodes[index], rule.nodes[N - 1 - index]) = (-node, node);
            (rule.weights[index], rule.weights[N - 1 - index]) = (weight, weight);
        }
        rule
    }

    /// The nodes moved to [from, to] with their weights.
    pub fn on(&self, from: f64, to: f64) -> impl Iterator<Item = (f64, f64)> + '_ {
        let (centre, half) = (0.5 * (from + to), 0.5 * (to - from));
        self.nodes.iter().zip(&self.weights).map(move |(node, weight)| (centre + half * node, half * weight))
    }
}

impl<const N: usize> Default for GaussLegendre<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The Legendre polynomial of a degree above 0 and its derivative, at x in (-1, 1).
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for k in 2..=degree {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
    }
    let degree = degree as f64;
    (value, degree * (x * value - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_up_to_twice_the_nodes_less_one_are_integrated_exactly() {
        let rule = GaussLegendre::<8>::new();
        for degree in 0..16 {
            let sum: f64 = rule.on(0.0, 1.0).map(|(node, weight)| weight * node.powi(degree)).sum();
            assert!((sum * f64::from(degree + 1) - 1.0).abs() < 1e-14, "degree {degree}");
        }
    }

    #[test]
    fn an_odd_number_of_nodes_has_one_in_the_middle() {
        let rule = GaussLegendre::<5>::new();
        assert_eq!(rule.nodes[2].to_bits(), 0.0_f64.to_bits());
        assert!((rule.weights.iter().sum::<f64>() - 2.0).abs() < 1e-15);
    }
}
