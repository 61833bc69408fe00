//! `packhorse image inspect`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::image::{failed, platform};
use crate::context;
use crate::image::inspect::{Change, Inspection, size, words};
use crate::image::{ImageReference, ImageSource as _, Platform, RegistryClient, sbom};
use crate::session::Session;
use crate::ui::CliError;

/// Show what an image is, or what changed between two
///
/// Reads config, labels, processes, buildpacks and bills of materials from the registry, without the other layers. With
/// two images, shows what changed from the first to the second.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse image inspect registry.example.com/shop:latest
  packhorse image inspect registry.example.com/shop:build-41 registry.example.com/shop:build-42")]
pub(super) struct ImageInspectArgs {
    /// Image in a registry
    image: ImageReference,
    /// A newer one to compare it with
    newer: Option<ImageReference>,
    /// Of images for several platforms, the one for this (default: this machine's)
    #[arg(long, value_name = "OS/ARCH", value_parser = platform)]
    platform: Option<Platform>,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &ImageInspectArgs) -> Result<(), CliError> {
    let client = context::registry_client()?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let image = inspect(session, &client, &args.image, &platform).await?;
    let Some(newer) = &args.newer else {
        if session.printer.is_json() {
            session.printer.json(&image);
        } else {
            session.printer.print(&told(&image));
        }
        return Ok(());
    };
    let newer = inspect(session, &client, newer, &platform).await?;
    let changes = image.changes(&newer);
    if session.printer.is_json() {
        session.printer.json(&json!({ "before": image, "after": newer, "changes": changes }));
    } else if changes.is_empty() {
        session.printer.result("nothing differs");
    } else {
        session.printer.print(&listed(&changes));
    }
    Ok(())
}

async fn inspect(
    session: &Session,
    client: &RegistryClient,
    image: &ImageReference,
    platform: &Platform,
) -> Result<Inspection, CliError> {
    let found = client.image(image, platform).await.map_err(failed)?;
    let found = found.ok_or_else(|| CliError::remote(format!("there is no image `{image}` for {platform}")))?;
    found.check().map_err(failed)?;
    let mut inspection = Inspection::of(&found);
    match sbom::read(client, &found).await {
        Ok(documents) => inspection.sbom = documents,
        Err(error) => session.printer.warn(CliError::remote("its bills of materials cannot be read").because(error)),
    }
    Ok(inspection)
}

/// Tells an image in sections; those without content are left out.
fn told(image: &Inspection) -> String {
    let mut text = format!("{}\n", image.image);
    let mut section = |title: &str, lines: Vec<(String, String)>| {
        if lines.is_empty() {
            return;
        }
        let _ = write!(text, "\n{title}\n");
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        for (name, value) in lines {
            let _ = writeln!(text, "  {}", format!("{name:width$}  {value}").trim_end());
        }
    };
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let run_image = image.run_image.as_ref().map_or("", |run| run.image.as_deref().unwrap_or(&run.reference));
    let about = [
        line("digest", &image.digest),
        line("platform", &image.platform),
        line("size", &size(image.size)),
        line("created", image.created.as_deref().unwrap_or_default()),
        line("run image", run_image),
        line("user", &image.user),
        line("entrypoint", &words(&image.entrypoint)),
        line("command", &words(&image.cmd)),
        line("working folder", &image.working_dir),
    ];
    section("Image", about.into_iter().filter(|(_, value)| !value.is_empty()).collect());
    let processes = image.processes.iter().map(|process| {
        let default = if process.default { " (default)" } else { "" };
        (process.kind.clone(), format!("{}{default}", words(&process.command)))
    });
    section("Processes", processes.collect());
    section("Buildpacks", image.buildpacks.iter().map(|pack| line(&pack.id, &pack.version)).collect());
    let bills = image.sbom.iter().map(|bill| (bill.path.clone(), format!("{} components", bill.components)));
    section("Bills of materials", bills.collect());
    section("Variables", image.env.iter().map(|(name, value)| line(name, value)).collect());
    section("Labels", image.labels.iter().map(|(name, value)| line(name, value)).collect());
    let layers =
        image.layers.iter().map(|layer| (layer.diff_id.clone(), format!("{:>9}  {}", size(layer.size), layer.name)));
    section("Layers", layers.collect());
    text
}

/// Lists changes: `-` for what is gone, `+` for what is new, `~` for what is different.
fn listed(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change { what, before, after } in changes {
        let _ = match (before, after) {
            (Some(before), Some(after)) => writeln!(text, "~ {what}: {before} -> {after}"),
            (Some(before), None) => writeln!(text, "- {what}: {before}"),
            (None, Some(after)) => writeln!(text, "+ {what}: {after}"),
            (None, None) => Ok(()),
        };
    }
    text
}
