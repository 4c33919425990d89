//! Sums of many terms in pairs of doubles, by fewer steps than [`Dd`] takes for any two pairs: a term is one double, or a
//! product of two, whose signs may make an error as large as that of the terms and no larger (algorithms 4 and 5 of Joldes,
//! Muller and Popescu, 2017).

use super::double_double::Dd;

/// A sum of doubles, or of products of two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(Dd);

impl Sum {
    /// Adds a double.
    pub fn add(&mut self, term: f64) {
        self.add_pair(Dd::from(term));
    }

    /// Adds the product of two doubles.
    pub fn add_product(&mut self, a: f64, b: f64) {
        self.add_pair(Dd::product(a, b));
    }

    fn add_pair(&mut self, term: Dd) {
        let ((sum_high, sum_low), (high, low)) = (self.0.parts(), term.parts());
        let (high, lost) = Dd::sum(sum_high, high).parts();
        self.0 = Dd::ordered_sum(high, lost + (sum_low + low));
    }

    /// What it has come to.
    #[must_use]
    pub const fn total(&self) -> Dd {
        self.0
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
    pub const fn total(&self, lane: usize) -> Dd {
        Dd::from_parts(self.high[lane], self.low[lane])
    }

    fn each(&mut self, add: impl Fn(usize, &mut Sum)) {
        for lane in 0..N {
            let mut sum = Sum(self.total(lane));
            add(lane, &mut sum);
            (self.high[lane], self.low[lane]) = sum.total().parts();
        }
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
            // Each of 400 additions is off by at most 3 u^2 of what is added, without signs, and of the sum, which is no larger
            // than all terms without signs; and so is each of those it is compared with. u = 2^-53.
            let error = (sum.total() - expected).to_f64().abs();
            prop_assert!(error <= 2.0 * 401.0 * 3.0 * (f64::EPSILON / 2.0).powi(2) * size, "{error:e} of {size}");
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
