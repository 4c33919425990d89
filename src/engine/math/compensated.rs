//! Sums of many terms as if in twice the working precision: what rounding takes from each addition is added up beside
//! (Ogita, Rump and Oishi, 2005), and nothing waits for it.

use super::double_double::Dd;

/// A sum of doubles, or of products of two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    high: f64,
    /// What rounding took.
    low: f64,
}

impl Sum {
    /// Adds a double.
    pub fn add(&mut self, term: f64) {
        let (high, low) = Dd::sum(self.high, term).parts();
        *self = Self { high, low: self.low + low };
    }

    /// Adds the product of two doubles.
    pub fn add_product(&mut self, a: f64, b: f64) {
        let (high, low) = Dd::product(a, b).parts();
        self.add(high);
        self.low += low;
    }

    /// What it has come to.
    #[must_use]
    pub fn total(&self) -> Dd {
        Dd::sum(self.high, self.low)
    }
}

/// Sums that grow side by side, so that the processor adds several at once; each is to the bit what [`Sum`] makes of it.
#[derive(Clone, Copy, Debug)]
pub struct Sums<const N: usize> {
    high: [f64; N],
    low: [f64; N],
}

impl<const N: usize> Sums<N> {
    /// All nought.
    pub const ZERO: Self = Self { high: [0.0; N], low: [0.0; N] };

    /// Adds to each its term.
    pub fn add(&mut self, terms: &[f64; N]) {
        self.each(|lane, sum| sum.add(terms[lane]));
    }

    /// Adds `factor` times each of `factors` to its sum, but for factors that are 0: those leave it as it is, whatever
    /// they are multiplied with.
    pub fn add_products(&mut self, factors: &[f64; N], factor: f64) {
        // Nought is a choice, not a jump: lanes must not part.
        self.each(|lane, sum| sum.add_product(factors[lane], if factors[lane] == 0.0 { 0.0 } else { factor }));
    }

    /// Adds the square of each of `factors` to its sum.
    pub fn add_squares(&mut self, factors: &[f64; N]) {
        self.each(|lane, sum| sum.add_product(factors[lane], factors[lane]));
    }

    /// What one of them has come to.
    #[must_use]
    pub fn total(&self, lane: usize) -> Dd {
        self.get(lane).total()
    }

    fn each(&mut self, add: impl Fn(usize, &mut Sum)) {
        for lane in 0..N {
            let mut sum = self.get(lane);
            add(lane, &mut sum);
            (self.high[lane], self.low[lane]) = (sum.high, sum.low);
        }
    }

    const fn get(&self, lane: usize) -> Sum {
        Sum { high: self.high[lane], low: self.low[lane] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn factors_of_nought_leave_sums_as_they_are() {
        let mut sums = Sums::<2>::ZERO;
        sums.add_products(&[0.0, 1.0], f64::INFINITY);
        assert_eq!(sums.total(0), Dd::ZERO);
        assert!(!sums.total(1).is_finite());
    }

    proptest! {
        #[test]
        fn sums_are_what_pairs_of_doubles_make_of_them(
            terms in prop::collection::vec((-1e3..1e3_f64, -12..12_i32, -1e6..1e6_f64), 0..200),
        ) {
            let (mut sum, mut expected, mut size) = (Sum::default(), Dd::ZERO, 0.0);
            for &(a, exponent, b) in &terms {
                let a = libm::ldexp(a, exponent);
                sum.add(a);
                sum.add_product(a, b);
                expected = expected + Dd::from(a) + Dd::product(a, b);
                size += a.abs() * (1.0 + b.abs());
            }
            // At most (n u)^2 of what the terms come to without their signs (Ogita, Rump and Oishi, 2005, proposition 4.5), of
            // n = 400 additions and u = 2^-53; what pairs are off by is less.
            let error = (sum.total() - expected).to_f64().abs();
            prop_assert!(error <= 2.0 * (400.0 * f64::EPSILON / 2.0).powi(2) * size, "{error:e} of {size}");
        }

        #[test]
        fn sums_side_by_side_are_what_single_ones_make_of_them(
            rows in prop::collection::vec((prop::array::uniform4(prop_oneof![Just(0.0), -1e3..1e3_f64]), -1e6..1e6_f64), 0..50),
        ) {
            let (mut plain, mut products, mut squares) = (Sums::<4>::ZERO, Sums::<4>::ZERO, Sums::<4>::ZERO);
            for (factors, factor) in &rows {
                plain.add(factors);
                products.add_products(factors, *factor);
                squares.add_squares(factors);
            }
            for lane in 0..4 {
                let own = || rows.iter().map(|(factors, factor)| (factors[lane], *factor)).filter(|(own, _)| *own != 0.0);
                let [mut sum, mut product, mut square] = [Sum::default(); 3];
                for (own, factor) in own() {
                    sum.add(own);
                    product.add_product(own, factor);
                    square.add_product(own, own);
                }
                let expected = [sum, product, square].map(|sum| sum.total());
                prop_assert_eq!([plain.total(lane), products.total(lane), squares.total(lane)], expected);
            }
        }
    }
}
