//! Insertions of many rows at once.

/// Rows of one insertion. Few sizes, so that few statements are prepared; up to 12 columns each stay below SQLite's 32766
/// values.
const ROWS: [usize; 5] = [512, 128, 32, 8, 1];

/// The rows in pieces of these sizes, in order.
pub(super) fn pieces<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut left = rows;
    std::iter::from_fn(move || {
        let size = ROWS.into_iter().find(|size| *size <= left.len())?;
        let (now, later) = left.split_at(size);
        left = later;
        Some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_piece_of_a_known_size_and_in_order() {
        for count in [0, 1, 7, 8, 31, 33, 127, 512, 700] {
            let rows: Vec<usize> = (0..count).collect();
            let cut: Vec<&[usize]> = pieces(&rows).collect();
            assert_eq!(cut.concat(), rows);
            assert!(cut.iter().all(|piece| ROWS.contains(&piece.len())));
        }
    }
}
