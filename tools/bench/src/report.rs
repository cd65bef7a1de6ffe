//! Reports of results as text, JSON, and a plot.

use std::path::Path;

use anyhow::{Context, anyhow};
use comfy_table::{CellAlignment, Table as Text, presets};
use plotters::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The size of a plot, in pixels.
const SIZE: (u32, u32) = (900, 500);

/// The results of a benchmark.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The command line.
    pub command: Vec<String>,
    /// The tables of results.
    pub tables: Vec<Table>,
    /// The plot of the results.
    pub plot: Plot,
}

/// A table of results.
#[derive(Debug, Clone)]
pub struct Table {
    /// The title.
    pub title: String,
    /// The column headings.
    pub columns: Vec<&'static str>,
    /// The rows, of strings and numbers.
    pub rows: Vec<Vec<Value>>,
}

impl Serialize for Table {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = |row: &Vec<Value>| -> Map<String, Value> {
            self.columns.iter().map(|column| (*column).to_owned()).zip(row.iter().cloned()).collect()
        };
        json!({"title": self.title, "rows": self.rows.iter().map(row).collect::<Vec<_>>()}).serialize(serializer)
    }
}

/// A plot of lines.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plot {
    /// The label of the x-axis.
    pub x: String,
    /// The label of the y-axis.
    pub y: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a plot.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Line {
    /// The label of the line.
    pub name: String,
    /// The points, `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// Makes a line of the values of successive rounds; the first is at `x` = 1.
    #[must_use]
    pub fn of_rounds(name: &str, values: &[f64]) -> Self {
        Self { name: name.to_owned(), points: (1..).map(f64::from).zip(values.iter().copied()).collect() }
    }
}

impl Table {
    /// Makes an empty table.
    #[must_use]
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn add(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// Returns the table as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Text::new();
        text.load_style(presets::ASCII_MARKDOWN).set_header(&self.columns);
        for row in &self.rows {
            text.add_row(row.iter().map(formatted));
        }
        for column in text.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n\n{text}", self.title)
    }
}

/// Formats a value, rounded to a useful precision.
fn formatted(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            let decimals = if number.abs() >= 100.0 { 0 } else { 2 };
            format!("{number:.decimals$}")
        }
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

impl Report {
    /// Makes an empty report of this program's run.
    #[must_use]
    pub fn begin(x: &str, y: &str) -> Self {
        let plot = Plot { x: x.to_owned(), y: y.to_owned(), lines: Vec::new() };
        Self { command: std::env::args().skip(1).collect(), tables: Vec::new(), plot }
    }

    /// Prints the tables, and writes the JSON and SVG files if their paths are given.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    #[allow(clippy::print_stdout, reason = "a command-line tool")]
    pub fn publish(&self, json: Option<&Path>, svg: Option<&Path>) -> anyhow::Result<()> {
        for table in &self.tables {
            println!("\n{}", table.text());
        }
        if let Some(file) = json {
            std::fs::write(file, serde_json::to_vec_pretty(self)?)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        if let Some(file) = svg {
            let drawn = self.plot.draw(&self.command.join(" "))?;
            std::fs::write(file, drawn).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }
}

impl Plot {
    /// Draws the plot as SVG.
    ///
    /// # Errors
    ///
    /// If the drawing library fails.
    pub fn draw(&self, title: &str) -> anyhow::Result<String> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw_on(&area, title).map_err(|error| anyhow!("drawing the plot: {error}"))?;
        }
        Ok(svg)
    }

    fn draw_on(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        title: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
        let left = points().map(|(x, _)| *x).fold(right, f64::min);
        let top = points().map(|(_, y)| *y).fold(0.0, f64::max);
        // A single point has no width, and an empty plot has no height.
        let right = if right > left { right } else { left + 1.0 };
        let top = if top > 0.0 { top * 1.1 } else { 1.0 };
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(20)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(left..right, 0.0..top)?;
        chart.configure_mesh().x_desc(&self.x).y_desc(&self.y).draw()?;
        for (number, line) in self.lines.iter().enumerate() {
            let colour = Palette99::pick(number);
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_rounded_text_and_objects_in_json() {
        let mut table = Table::new("rates", &["round", "orders/s"]);
        table.add(vec![json!("first"), json!(12345.678)]);
        table.add(vec![json!("second"), Value::Null]);
        let text = table.text();
        assert!(text.contains("12346") && text.contains("| second"), "{text}");
        assert_eq!(serde_json::to_value(&table).unwrap()["rows"][0]["orders/s"], 12345.678);
    }

    #[test]
    fn a_plot_without_lines_or_with_one_point_is_drawn() {
        let mut plot = Plot { x: "round".to_owned(), y: "orders/s".to_owned(), lines: vec![] };
        assert!(plot.draw("nothing").unwrap().contains("</svg>"));
        plot.lines.push(Line::of_rounds("shop", &[5.0]));
        let svg = plot.draw("one").unwrap();
        assert!(svg.contains("shop") && svg.contains("orders/s"));
    }
}
