//! Comparisons of one case, collected.

use serde_json::Value;

/// What became of one case.
pub(crate) struct Checks {
    /// Said of a case without failures.
    pub(crate) verdict: &'static str,
    pub(crate) failures: Vec<String>,
    compared: usize,
    worst: f64,
    remarks: Vec<String>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { verdict: "ok", failures: Vec::new(), compared: 0, worst: 0.0, remarks: Vec::new() }
    }
}

impl Checks {
    /// Compares to 1e-10 of the expected number.
    pub(crate) fn relative(&mut self, what: &str, actual: f64, expected: &Value) {
        let expected = super::cases::number(expected);
        self.within(what, actual, expected, 1e-10 * expected.abs());
    }

    /// Compares to a share of the expected number, or to what rounding leaves of something of size `scale`; where null is
    /// expected, nothing must be there.
    pub(crate) fn nullable(&mut self, what: &str, actual: Option<f64>, expected: &Value, share: f64, scale: f64) {
        match (actual, expected) {
            (None, Value::Null) => self.require(what, true),
            (Some(actual), Value::Number(_)) => {
                let expected = super::cases::number(expected);
                self.within(what, actual, expected, share * expected.abs() + 1e-15 * scale);
            }
            _ => self.require(&format!("{what}: is {actual:?}, must be {expected}"), false),
        }
    }

    /// Compares element by element to 1e-10 of each, or 1e-14 of the largest: elements that cancel to nothing are not
    /// known better than that.
    pub(crate) fn relative_all(&mut self, what: &str, actual: &[f64], expected: &[f64]) {
        if actual.len() != expected.len() {
            self.fail(format!("{what}: has {} elements, must have {}", actual.len(), expected.len()));
        }
        let largest = expected.iter().fold(0.0, |largest: f64, element| largest.max(element.abs()));
        for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
            self.within(&format!("{what}[{index}]"), actual, expected, 1e-10 * expected.abs() + 1e-14 * largest);
        }
    }

    /// Compares probabilities to 1e-8.
    pub(crate) fn probabilities(&mut self, what: &str, actual: &[f64], expected: &[f64]) {
        if actual.len() != expected.len() {
            self.fail(format!("{what}: has {} elements, must have {}", actual.len(), expected.len()));
        }
        for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
            self.within(&format!("{what}[{index}]"), actual, expected, 1e-8);
        }
    }

    pub(crate) fn within(&mut self, what: &str, actual: f64, expected: f64, tolerance: f64) {
        self.compared += 1;
        let error = (actual - expected).abs();
        self.worst = self.worst.max(error / tolerance.max(f64::MIN_POSITIVE));
        // A NaN must fail.
        if error.is_nan() || error > tolerance {
            self.fail(format!("{what}: is {actual}, must be {expected} within {tolerance:e}"));
        }
    }

    pub(crate) fn require(&mut self, what: &str, holds: bool) {
        self.compared += 1;
        if !holds {
            self.fail(what.to_owned());
        }
    }

    pub(crate) fn unknown(&mut self, key: &str) {
        self.fail(format!("unknown key \"{key}\""));
    }

    pub(crate) fn fail(&mut self, failure: String) {
        self.failures.push(failure);
    }

    pub(crate) fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    /// Ends a case: one in which nothing was compared is only fine if a verdict says that nothing had to be.
    pub(crate) fn finish(&mut self) {
        if self.compared > 0 || self.verdict != "ok" || !self.failures.is_empty() {
            return;
        }
        if self.remarks.is_empty() {
            self.fail("nothing to compare".to_owned());
        } else {
            self.verdict = "reference only";
        }
    }

    /// The verdict in one line.
    pub(crate) fn summary(&self) -> String {
        if !self.failures.is_empty() {
            return format!("FAIL {}", self.failures.join("; "));
        }
        let mut parts = vec![self.verdict.to_owned()];
        if self.compared > 0 {
            parts.push(format!("{} comparisons, worst {:.1e} of tolerance", self.compared, self.worst));
        }
        parts.extend(self.remarks.iter().cloned());
        parts.join(", ")
    }
}
