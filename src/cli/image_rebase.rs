//! `packhorse image rebase`.

use clap::Args;
use serde_json::json;

use super::image::{failed, platform};
use crate::context;
use crate::image::rebase::{self, Rebase, RebaseError};
use crate::image::{
    ImageReference, ImageSource as _, ImageTarget as _, Platform, RegistryClient, RegistryTarget, SourceImage,
};
use crate::session::Session;
use crate::ui::{CliError, Progress};

/// Put an app image on a new run image, without building it again
///
/// Happens in the registry: the app's layers are not downloaded, and those of a run image in the same registry are not
/// either. The default is the newest image of the name that the app was built on.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse image rebase registry.example.com/shop:latest
  packhorse image rebase registry.example.com/shop:latest --run-image registry.example.com/run:24.2 --tag registry.example.com/shop:patched")]
pub(super) struct ImageRebaseArgs {
    /// App image in a registry
    image: ImageReference,
    /// The run image to put it on; another version of the one it was built on
    #[arg(long, value_name = "IMAGE")]
    run_image: Option<ImageReference>,
    /// Name for the new image; repeat for more (default: that of the app image)
    #[arg(short, long, value_name = "IMAGE")]
    tag: Vec<ImageReference>,
    /// Of images for several platforms, the one for this (default: this machine's)
    #[arg(long, value_name = "OS/ARCH", value_parser = platform)]
    platform: Option<Platform>,
    /// Take a run image that was not meant for the app
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &ImageRebaseArgs) -> Result<(), CliError> {
    let client = context::registry_client()?;
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let progress = Progress::begin(&session.printer, "image rebase");
    let app = find(&client, &args.image, &platform).await?;
    let run_image = match &args.run_image {
        Some(name) => find(&client, name, &platform).await?,
        None => known_run_image(&client, &app, &platform).await?,
    };
    let Rebase { image, run_layers, app_layers: _, warnings } =
        rebase::plan(&app, &run_image, args.force).map_err(refused)?;
    for warning in warnings {
        session.printer.warn(warning);
    }
    let names = match (&args.tag[..], args.image.tag(), args.image.digest()) {
        ([], Some(tag), _) => vec![args.image.with_tag(tag.clone())],
        ([], None, None) => vec![args.image.clone()],
        // An image named by its digest alone stays without another name.
        ([], None, Some(_)) => Vec::new(),
        (names, ..) => names.to_vec(),
    };
    let target = RegistryTarget::new(client.clone(), app.reference.repository().clone());
    for layer in &run_layers {
        target.take_layer(&client, &run_image, layer).await.map_err(failed)?;
    }
    let digest = target.finish(&image, &names).await.map_err(failed)?;
    let pinned = app.reference.repository().at(digest.clone());
    let changed = digest != app.digest;
    progress.result(&json!({
        "image": names.first().unwrap_or(&pinned), "digest": digest, "run_image": run_image.pinned(), "changed": changed,
    }));
    if !changed {
        session.printer.note("it stands on this run image already");
    }
    session.printer.result(format_args!("{}  {digest}", names.first().unwrap_or(&pinned)));
    Ok(())
}

async fn find(client: &RegistryClient, image: &ImageReference, platform: &Platform) -> Result<SourceImage, CliError> {
    let found = client.image(image, platform).await.map_err(failed)?;
    found.ok_or_else(|| CliError::remote(format!("there is no image `{image}` for {platform}")))
}

/// Finds the run image that the app's label names, or else one of its mirrors.
async fn known_run_image(
    client: &RegistryClient,
    app: &SourceImage,
    platform: &Platform,
) -> Result<SourceImage, CliError> {
    let names = rebase::run_images(app).map_err(refused)?;
    for name in &names {
        if let Ok(Some(image)) = client.image(name, platform).await {
            return Ok(image);
        }
    }
    let shown = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let error = match names.len() {
        0 => CliError::usage(format!("`{}` does not tell the name of its run image", app.reference)),
        _ => CliError::remote(format!("none of the app's run images can be read: {shown}")),
    };
    Err(error.hint("name one with `--run-image`"))
}

fn refused(error: RebaseError) -> CliError {
    let forced = error.can_be_forced();
    let error = CliError::usage("the image cannot be rebased").because(error);
    if forced { error.hint("`--force` does it all the same; test the image then") } else { error }
}
