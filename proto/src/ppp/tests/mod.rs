//! Pairs of links, hostile peers, and whatever comes along.
