//! Outcomes on their way to a client: the Queue's columns, in the shape that the client asked for, in frames of at most
//! [`MAX_RESULTS_FRAME_BYTES`].

use hashmesh::{
    limits::{MAX_RESULTS_FRAME_BYTES, MAX_TRACEPARENTS},
    v1::{PackedOutcomes, ResultShape, Results},
};
use prost::Message as _;
use tonic::Status;

use crate::heavy;

/// More rows than this take more than about 0.5 ms to make.
const MANY_ROWS: usize = 300;
/// Room in a frame for what surrounds the outcomes: the frame's own header, those of the columns, and what caused them.
const FRAME_ROOM: usize = 4 * 1024 + MAX_TRACEPARENTS * 64;

/// The frames for one frame of the Queue, never none: also where nothing matched a filter, the position moves on.
pub(crate) async fn shaped(results: Results, shape: ResultShape) -> Result<Vec<Results>, Status> {
    if shape == ResultShape::Columns {
        return Ok(columns(results));
    }
    let count: usize = results.columns.iter().map(|columns| columns.task_count as usize).sum();
    if count <= MANY_ROWS {
        return Ok(rows(results));
    }
    heavy::run(move || rows(results)).await
}

fn columns(results: Results) -> Vec<Results> {
    if results.encoded_len() <= MAX_RESULTS_FRAME_BYTES {
        return vec![results];
    }
    gather(results, ResultShape::Columns)
}

fn rows(results: Results) -> Vec<Results> {
    gather(results, ResultShape::Rows)
}

/// Cuts the columns into pieces that fit a frame, and fills frames with them, in order.
fn gather(results: Results, shape: ResultShape) -> Vec<Results> {
    let limit = MAX_RESULTS_FRAME_BYTES - FRAME_ROOM;
    let as_rows = shape == ResultShape::Rows;
    let through_position = results.through_position;
    // Which of them caused which outcomes is not told: all of them are causes of every piece.
    let empty = Results { traceparents: results.traceparents, ..Default::default() };
    let mut frames = Vec::new();
    let (mut frame, mut frame_bytes) = (empty.clone(), 0);
    for piece in results.columns.into_iter().flat_map(|columns| columns.into_pieces(limit, as_rows)) {
        let through_piece = piece.through_position();
        let (part, part_bytes) = encoded(piece, as_rows);
        if frame_bytes > 0 && frame_bytes + part_bytes > limit {
            frames.push(std::mem::replace(&mut frame, empty.clone()));
            frame_bytes = 0;
        }
        frame.rows.extend(part.rows);
        frame.columns.extend(part.columns);
        frame.through_position = through_piece;
        frame_bytes += part_bytes;
    }
    // What lies between the last outcome and here did not match the filter.
    frame.through_position = through_position;
    frames.push(frame);
    frames
}

fn encoded(piece: PackedOutcomes, as_rows: bool) -> (Results, usize) {
    let part = if as_rows {
        Results { rows: piece.into_rows(), ..Default::default() }
    } else {
        Results { columns: vec![piece], ..Default::default() }
    };
    let bytes = part.encoded_len();
    (part, bytes)
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::{Algorithm, PackedNames};

    use super::*;

    fn outcomes(first_position: u64, count: u32, name_bytes: u32) -> PackedOutcomes {
        PackedOutcomes {
            first_position,
            task_count: count,
            algorithms: vec![Algorithm::Sha256.into()],
            digests: vec![1; 32 * count as usize].into(),
            names: Some(PackedNames {
                data: vec![b'n'; (name_bytes * count) as usize].into(),
                lengths: vec![name_bytes; count as usize],
            }),
            attempt: 1,
            ..Default::default()
        }
    }

    fn positions(frames: &[Results]) -> Vec<u64> {
        let of_columns = |columns: &PackedOutcomes| columns.clone().into_rows();
        frames
            .iter()
            .flat_map(|frame| frame.rows.iter().cloned().chain(frame.columns.iter().flat_map(of_columns)))
            .map(|row| row.position)
            .collect()
    }

    #[tokio::test]
    async fn every_frame_fits_and_together_they_are_the_whole() {
        for shape in [ResultShape::Rows, ResultShape::Columns] {
            let results = Results {
                columns: vec![outcomes(1, 10_000, 40), outcomes(10_001, 700, 4_096), outcomes(10_800, 1, 0)],
                through_position: 10_900,
                traceparents: vec!["a".repeat(55); MAX_TRACEPARENTS],
                ..Default::default()
            };
            let causes = results.traceparents.clone();
            let frames = shaped(results, shape).await.unwrap();
            assert!(frames.len() > 1 && frames.iter().all(|frame| frame.traceparents == causes));
            assert!(frames.iter().all(|frame| frame.encoded_len() <= MAX_RESULTS_FRAME_BYTES));
            assert_eq!(positions(&frames), (1..=10_700).chain([10_800]).collect::<Vec<_>>());
            // A reader that stops after any frame resumes behind exactly what it was sent.
            let mut sent = Vec::new();
            for frame in &frames {
                sent.extend(positions(std::slice::from_ref(frame)));
                assert!(frame.through_position >= *sent.last().unwrap());
            }
            assert_eq!(frames.last().unwrap().through_position, 10_900);
        }
    }

    #[tokio::test]
    async fn one_outcome_with_the_longest_name_fits() {
        let results = Results { columns: vec![outcomes(1, 1, 4_096)], through_position: 1, ..Default::default() };
        assert_eq!(shaped(results, ResultShape::Rows).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn nothing_that_matched_still_moves_the_position_on() {
        for shape in [ResultShape::Rows, ResultShape::Columns] {
            let frames = shaped(Results { through_position: 7, ..Default::default() }, shape).await.unwrap();
            assert_eq!(frames, [Results { through_position: 7, ..Default::default() }]);
        }
    }
}
