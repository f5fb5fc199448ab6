//! The scanner, the tree and the writer against another parser, against damage, and against time.

mod check;
mod damage;
mod linear;
mod pieces;
