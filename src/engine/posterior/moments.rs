//! stub
use crate::engine::math::double_double::Dd;
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    d: usize,
    p: Vec<f64>,
}
impl Moments {
    pub fn new(d: usize) -> Self {
        Self { d, p: vec![0.0; d * d + d + 2] }
    }
    pub fn dimension(&self) -> usize {
        self.d
    }
    pub fn observe(&mut self, x: &[f64], y: f64, w: f64) {
        let _ = (x, y, w);
    }
    pub fn forget(&mut self, x: &[f64], y: f64, w: f64) {
        let _ = (x, y, w);
    }
    pub fn correct(&mut self, x: &[f64], y: f64, y2: f64, w: f64) {
        let _ = (x, y, w, y2);
    }
    pub fn merge(&mut self, o: &Self) {
        let _ = o;
    }
    pub fn scale(&mut self, f: f64) {
        let _ = f;
    }
    pub fn scaled(&self, f: f64) -> Self {
        let _ = f;
        self.clone()
    }
    pub fn is_finite(&self) -> bool {
        true
    }
    pub fn to_parts(&self) -> Vec<f64> {
        self.p.clone()
    }
    pub fn from_parts(d: usize, p: &[f64]) -> Result<Self, ()> {
        Ok(Self { d, p: p.to_vec() })
    }
    pub fn weight(&self) -> Dd {
        Dd::from(0.0)
    }
}
