//! Recordings become reports.
