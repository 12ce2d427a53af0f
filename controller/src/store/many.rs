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

/// The rows in pieces of these sizes, in order, the last one filled up to its size with nothing: fewer statements than
/// [`pieces`], for those that pass over what is nothing.
pub(super) fn filled<T>(rows: &[T]) -> impl Iterator<Item = impl Iterator<Item = Option<&T>>> {
    let most = ROWS[0];
    rows.chunks(most).map(move |rows| {
        let sizes = ROWS.into_iter().rev();
        let size = sizes.into_iter().find(|size| *size >= rows.len());
        let empty = size.unwrap_or(most).saturating_sub(rows.len());
        rows.iter()
            .map(Some)
            .chain(std::iter::repeat_n(None, empty))
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

    #[test]
    fn what_is_filled_up_has_every_row_once_and_is_of_a_known_size() {
        for count in [0, 1, 7, 8, 31, 33, 127, 512, 700] {
            let rows: Vec<usize> = (0..count).collect();
            let cut: Vec<Vec<Option<&usize>>> = filled(&rows).map(Iterator::collect).collect();
            let found: Vec<usize> = cut.iter().flatten().copied().flatten().copied().collect();
            assert_eq!(found, rows);
            assert!(cut.iter().all(|piece| ROWS.contains(&piece.len())));
            assert_eq!(cut.len(), count.div_ceil(ROWS[0]));
        }
    }
}
