//! Segments as bytes: parse (never panics) and emit into a caller's array.
