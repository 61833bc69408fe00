//! Draws problems with the place they are in.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::domain::manifest::{ManifestError, Problem, ProblemKind, Problems, SourceFile};

/// The widest excerpt; wider lines of a manifest are cut around the marked text.
const WIDTH: usize = 120;

/// Draws every problem of every file; see [`draw_problems`].
#[must_use]
pub fn draw_manifest_error(error: &ManifestError, colour: bool) -> String {
    error.files.iter().map(|problems| draw_problems(problems, colour)).collect::<Vec<_>>().join("\n")
}

/// Draws the problems of one file: message, place, excerpt and advice, with an empty line between two.
///
/// Ends with a newline, if there is something to draw. Without `colour` the text is plain.
#[must_use]
pub fn draw_problems(problems: &Problems, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
    let drawn: Vec<String> =
        problems.list.iter().map(|problem| draw_problem(&problems.file, problem, &renderer)).collect();
    drawn.join("\n")
}

fn draw_problem(file: &SourceFile, problem: &Problem, renderer: &Renderer) -> String {
    let level = match problem.kind {
        ProblemKind::Error => Level::ERROR,
        ProblemKind::Warning => Level::WARNING,
    };
    // A mark over many lines hides what it marks: the first is enough.
    let span = file.clamp(&problem.span);
    let length = file.text()[span.clone()].find(['\r', '\n']).unwrap_or(span.len());
    let mut annotation = AnnotationKind::Primary.span(span.start..span.start + length);
    if let Some(label) = &problem.label {
        annotation = annotation.label(label.as_str());
    }
    let snippet = Snippet::source(file.text()).path(file.name()).annotation(annotation);
    let mut report = vec![level.primary_title(problem.message.as_str()).element(snippet)];
    if let Some(help) = &problem.help {
        report.push(Group::with_title(Level::HELP.primary_title(help.as_str())));
    }
    let mut drawn = renderer.render(&report);
    // Lines without text end in blanks, which editors and snapshots would strip.
    drawn = drawn.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    drawn.push('\n');
    drawn
}
