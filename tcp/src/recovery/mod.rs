//! What is lost, and how much may leave.

mod rtt;

#[allow(unused_imports)]
pub(crate) use rtt::RttEstimator;
