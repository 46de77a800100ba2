//! What moves bytes.
