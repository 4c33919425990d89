#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreDistribution {
    Beta { alpha: f64, beta: f64, scale: f64 },
    StudentT { degrees_of_freedom: f64, location: f64, scale: f64 },
    Normal { mean: f64, standard_deviation: f64 },
}
impl ScoreDistribution {
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Beta { alpha, beta, scale } => scale * alpha / (alpha + beta),
            Self::StudentT { location, .. } => location,
            Self::Normal { mean, .. } => mean,
        }
    }
    pub fn quantile(&self, _p: f64) -> f64 {
        0.0
    }
    pub fn scaled_by(self, _v: f64) -> Self {
        self
    }
}
