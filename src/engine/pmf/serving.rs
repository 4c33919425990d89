use super::distribution::ScoreDistribution;
#[derive(Clone, Debug)]
pub struct ScoreCurve;
impl ScoreCurve {
    pub fn beta(_a: f64, _b: f64) -> Self {
        Self
    }
    pub fn student_t(_d: f64) -> Self {
        Self
    }
}
#[derive(Clone, Debug)]
pub struct ThompsonGrid {
    n: usize,
}
impl ThompsonGrid {
    pub fn new(a: &[(ScoreDistribution, &ScoreCurve)]) -> Self {
        Self { n: a.len() }
    }
    pub fn pmf(&self, r: &[bool]) -> Vec<f64> {
        let c = r.iter().filter(|x| **x).count() as f64;
        let _ = self.n;
        r.iter().map(|&x| if x { 1.0 / c } else { 0.0 }).collect()
    }
}
