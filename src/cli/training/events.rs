//! TensorBoard's event files in a run folder.
//!
//! Every session of a run has its own file, which is named by the step that it begins after: the files have
//! no step twice, as a resumed run first removes the events of the steps that it makes again.

use super::record::{
    Content, Event, Histogram, Image, START, SessionLog, Summary, Value, What, decode, encode,
};
use crate::cli::io::paths::unwritable;
use crate::train::{LEVELS, Metrics, Run};
use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The event file of a session.
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins the session after `step`.
    pub fn begin(run: &Run, step: u64) -> anyhow::Result<Events> {
        forget_after(run, step)?;
        let path = run.events(step);
        let file = File::create(&path).map_err(|error| unwritable(&path, error))?;
        let mut events = Events { path, file };
        events.append(0, What::FileVersion("brain.Event:2".into()))?;
        // TensorBoard forgets what it has read of steps that are made again: those from this one on.
        events.append(step + 1, What::SessionLog(SessionLog { status: START }))?;
        Ok(events)
    }

    /// Appends a row. The noise levels are those of [`Metrics::held_out_levels`].
    pub fn row(&mut self, row: &Metrics, noise_levels: &[f64; LEVELS + 1]) -> anyhow::Result<()> {
        let mut scalars = vec![
            ("loss/training".to_string(), row.loss),
            ("optimiser/gradient_norm".into(), row.grad_norm),
            ("optimiser/learning_rate".into(), row.learning_rate),
            ("speed/images_per_second".into(), row.images_per_second),
            ("memory/device_bytes".into(), row.device_bytes as f64),
            ("memory/process_bytes".into(), row.process_bytes as f64),
        ];
        scalars.extend(row.held_out_loss.map(|loss| ("loss/held_out".into(), loss)));
        let levels = row.held_out_levels.iter().enumerate();
        scalars.extend(
            levels.filter_map(|(i, loss)| Some((format!("loss_by_noise_level/{}", i + 1), (*loss)?))),
        );
        let mut values: Vec<Value> =
            scalars.into_iter().map(|(tag, v)| value(&tag, Content::Scalar(v as f32))).collect();
        values.extend(
            histogram(row, noise_levels)
                .map(|histogram| value("held_out_loss_by_log10_sigma", Content::Histogram(histogram))),
        );
        self.append(row.step, What::Summary(Summary { value: values }))
    }

    /// Appends a picture.
    pub fn picture(&mut self, step: u64, tag: &str, path: &Path) -> anyhow::Result<()> {
        let encoded = std::fs::read(path).with_context(|| path.display().to_string())?;
        let picture = image::load_from_memory(&encoded)?;
        let [height, width] = [picture.height(), picture.width()].map(|extent| extent as i32);
        let colorspace = i32::from(picture.color().channel_count());
        let image = Image { height, width, colorspace, encoded };
        self.append(step, What::Summary(Summary { value: vec![value(tag, Content::Image(image))] }))
    }

    /// Appends an event in one write, which the system sees at once.
    fn append(&mut self, step: u64, what: What) -> anyhow::Result<()> {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let event = Event { wall_time, step: step as i64, what: Some(what) };
        self.file.write_all(&encode(&event)).map_err(|error| unwritable(&self.path, error))
    }
}

fn value(tag: &str, content: Content) -> Value {
    Value { tag: tag.into(), content: Some(content) }
}

/// The held-out loss as the weight of buckets on the axis log₁₀ σ, one for each part of the noise levels.
fn histogram(row: &Metrics, noise_levels: &[f64; LEVELS + 1]) -> Option<Histogram> {
    let bucket: Vec<f64> = row.held_out_levels.iter().copied().collect::<Option<_>>()?;
    let edges = noise_levels.map(f64::log10);
    let moment = |power: i32| -> f64 {
        let middle = |i: usize| f64::midpoint(edges[i], edges[i + 1]);
        bucket.iter().enumerate().map(|(i, loss)| loss * middle(i).powi(power)).sum()
    };
    let [min, .., max] = edges;
    let (num, sum, sum_squares) = (moment(0), moment(1), moment(2));
    Some(Histogram { min, max, num, sum, sum_squares, bucket_limit: edges[1..].to_vec(), bucket })
}

/// Removes the events of later steps than `step`.
fn forget_after(run: &Run, step: u64) -> anyhow::Result<()> {
    for file in std::fs::read_dir(run.folder()).into_iter().flatten().flatten() {
        let Some(begun) = file.file_name().to_str().and_then(Run::events_after) else { continue };
        let path = file.path();
        let failed = |error| unwritable(&path, error);
        if begun >= step {
            std::fs::remove_file(&path).map_err(failed)?;
            continue;
        }
        let bytes = std::fs::read(&path).map_err(failed)?;
        let kept = decode(&bytes).take_while(|(_, event)| event.step as u64 <= step);
        let end = kept.last().map_or(0, |(end, _)| end);
        if end < bytes.len() {
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(end as u64))
                .map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64) -> Metrics {
        let text = format!(
            "step,loss,grad_norm,learning_rate,images_per_second,device_bytes,process_bytes\n{step},2,1,0.1,9,1,1\n"
        );
        Metrics {
            held_out_loss: Some(2.5),
            held_out_levels: [1.0, 2.0, 3.0, 4.0].map(Some),
            ..Metrics::rows(&text)[0]
        }
    }

    fn steps(path: &Path) -> Vec<i64> {
        let bytes = std::fs::read(path).unwrap();
        let summaries = decode(&bytes).filter(|(_, event)| matches!(event.what, Some(What::Summary(_))));
        summaries.map(|(_, event)| event.step).collect()
    }

    #[test]
    fn a_resumed_session_has_a_file_of_its_own_and_no_step_twice() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::at(folder.path());
        let levels = [0.01, 0.1, 1.0, 10.0, 100.0];
        let write = |after: u64, rows: &[u64]| {
            let mut events = Events::begin(&run, after).unwrap();
            rows.iter().for_each(|step| events.row(&row(*step), &levels).unwrap());
        };
        write(0, &[5, 10, 15]);
        write(10, &[15, 20]);
        assert_eq!((steps(&run.events(0)), steps(&run.events(10))), (vec![5, 10], vec![15, 20]));
        // A record that a full disk has cut off, and a session that ended before its first row.
        File::options().append(true).open(run.events(10)).unwrap().write_all(&[9; 5]).unwrap();
        write(15, &[]);
        write(15, &[25]);
        assert_eq!((steps(&run.events(10)), steps(&run.events(15))), (vec![15], vec![25]));
        write(0, &[1]);
        assert!(!run.events(10).exists() && steps(&run.events(0)) == [1]);
    }

    #[test]
    fn the_loss_by_noise_level_is_a_histogram_over_log_sigma() {
        let found = histogram(&row(1), &[0.01, 0.1, 1.0, 10.0, 100.0]).unwrap();
        assert_eq!((found.min, found.max, &found.bucket_limit[..]), (-2.0, 2.0, &[-1.0, 0.0, 1.0, 2.0][..]));
        assert_eq!((found.num, found.sum, found.sum_squares), (10.0, 5.0, 12.5));
    }
}
