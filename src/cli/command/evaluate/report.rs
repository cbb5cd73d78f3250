//! The result of a comparison: lines of text, JSON, a table in Markdown.

use crate::cli::{count, print};
use crate::eval::{InceptionScore, KernelDistance, PrecisionRecall};

/// The result of a comparison.
pub struct Report {
    /// The names of both sides.
    pub names: [String; 2],
    /// Their members: the number, if it is known, and a name for one.
    pub members: [(Option<usize>, &'static str); 2],
    /// The features' name.
    pub features: String,
    /// The way from images to features, if there are several.
    pub convention: Option<String>,
    pub dimensions: usize,
    pub frechet: Option<f64>,
    pub kernel: Option<KernelDistance>,
    pub precision_recall: Option<PrecisionRecall>,
    pub inception_score: Option<InceptionScore>,
    /// Copies of training images among the samples and in the reference.
    pub copies: Option<(usize, Option<usize>)>,
}

impl Report {
    fn member(&self, side: usize) -> String {
        match self.members[side] {
            (Some(n), what) => count(n, what),
            (None, _) => self.names[side].clone(),
        }
    }

    /// One line of each metric: its name and its value.
    fn rows(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        if let Some(distance) = self.frechet {
            let (ours, theirs) = (self.member(0), self.member(1));
            let name = format!("Fréchet distance on {}, {ours} against {theirs}", self.features);
            rows.push((name, format!("{distance:.3}")));
        }
        if let Some(KernelDistance { mean, standard_error, subsets, members }) = self.kernel {
            let name = format!("kernel distance, {subsets} subsets of {members}");
            rows.push((name, format!("{mean:.5} ± {standard_error:.5}")));
        }
        if let Some(PrecisionRecall { precision, recall }) = self.precision_recall {
            rows.push(("precision and recall, k = 3".into(), format!("{precision:.3}, {recall:.3}")));
        }
        if let Some(InceptionScore { mean, deviation, splits }) = self.inception_score {
            rows.push((format!("Inception score, {splits} splits"), format!("{mean:.3} ± {deviation:.3}")));
        }
        if let Some((ours, theirs)) = self.copies {
            let share = |side: usize, copies: usize| {
                let percent = 100.0 * copies as f64 / self.members[side].0.unwrap_or(1).max(1) as f64;
                format!("{copies} of {} ({percent:.1} %)", self.member(side))
            };
            let theirs = theirs.map(|copies| format!(", {}", share(1, copies))).unwrap_or_default();
            rows.push(("copies of training images".into(), share(0, ours) + &theirs));
        }
        rows
    }

    /// Prints the report.
    pub fn print(&self, json: bool, markdown: bool) -> anyhow::Result<()> {
        if json {
            return print(self.json());
        }
        let about = match &self.convention {
            Some(convention) => format!("{} ({convention})", self.features),
            None => self.features.clone(),
        };
        if markdown {
            print(format!(
                "{} against {}, on {about}, {} dimensions\n",
                self.names[0], self.names[1], self.dimensions
            ))?;
            print("| metric | value |\n| --- | --- |")?;
            return self
                .rows()
                .into_iter()
                .try_for_each(|(name, value)| print(format!("| {name} | {value} |")));
        }
        self.rows().into_iter().try_for_each(|(name, value)| print(format!("{name}: {value}")))?;
        self.convention.as_ref().map_or(Ok(()), |_| print(format!("features: {about}")))
    }

    fn json(&self) -> serde_json::Value {
        let copies = self.copies.map(|(ours, _)| ours);
        serde_json::json!({
            "samples": self.members[0].0, "test": self.members[1].0,
            "names": self.names, "features": self.features, "convention": self.convention,
            "dimensions": self.dimensions,
            "frechet_distance": self.frechet,
            "kernel_distance": self.kernel.map(|kernel| kernel.mean),
            "kernel_distance_standard_error": self.kernel.map(|kernel| kernel.standard_error),
            "precision": self.precision_recall.map(|found| found.precision),
            "recall": self.precision_recall.map(|found| found.recall),
            "inception_score": self.inception_score.map(|score| score.mean),
            "inception_score_deviation": self.inception_score.map(|score| score.deviation),
            "copies": copies, "copies_among_test": self.copies.and_then(|(_, theirs)| theirs),
        })
    }
}
