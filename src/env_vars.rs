//! Every environment variable that packhorse reads, in one place.
//!
//! AppPack's variables keep their names, so that an existing buildspec works unchanged; ours begin with `PACKHORSE_`.

/// The app's or pipeline's name.
pub const APPNAME: &str = "APPNAME";
/// The artifact bucket of the app.
pub const ARTIFACT_BUCKET: &str = "ARTIFACT_BUCKET";
/// The repository that images are pushed to.
pub const DOCKER_REPO: &str = "DOCKER_REPO";
/// `1` where the project builds a pipeline's review apps.
pub const PIPELINE: &str = "PIPELINE";
/// `created` at the first build of a review app.
pub const REVIEW_APP_STATUS: &str = "REVIEW_APP_STATUS";
/// Docker Hub user; empty or `~` means none.
pub const DOCKERHUB_USERNAME: &str = "DOCKERHUB_USERNAME";
/// Docker Hub access token; empty or `~` means none.
pub const DOCKERHUB_ACCESS_TOKEN: &str = "DOCKERHUB_ACCESS_TOKEN";
/// `{project}:{uuid}`, or `external-{id}` outside CodeBuild.
pub const CODEBUILD_BUILD_ID: &str = "CODEBUILD_BUILD_ID";
/// The ARN of the build.
pub const CODEBUILD_BUILD_ARN: &str = "CODEBUILD_BUILD_ARN";
/// The number of the build, or `external-{n}` outside CodeBuild.
pub const CODEBUILD_BUILD_NUMBER: &str = "CODEBUILD_BUILD_NUMBER";
/// `1` while no CodeBuild phase has failed.
pub const CODEBUILD_BUILD_SUCCEEDING: &str = "CODEBUILD_BUILD_SUCCEEDING";
/// `{log group}:{log stream}` of the build, where CodeBuild gives it.
pub const CODEBUILD_LOG_PATH: &str = "CODEBUILD_LOG_PATH";
/// What was asked for: a commit, a branch, or `pr/{number}`.
pub const CODEBUILD_SOURCE_VERSION: &str = "CODEBUILD_SOURCE_VERSION";
/// The commit that is built.
pub const CODEBUILD_RESOLVED_SOURCE_VERSION: &str = "CODEBUILD_RESOLVED_SOURCE_VERSION";
/// Where the source comes from.
pub const CODEBUILD_SOURCE_REPO_URL: &str = "CODEBUILD_SOURCE_REPO_URL";
/// When the build was submitted, in milliseconds since 1970.
pub const CODEBUILD_START_TIME: &str = "CODEBUILD_START_TIME";
/// The folder of the source.
pub const CODEBUILD_SRC_DIR: &str = "CODEBUILD_SRC_DIR";
/// The webhook event that started the build.
pub const CODEBUILD_WEBHOOK_EVENT: &str = "CODEBUILD_WEBHOOK_EVENT";
/// The branch of the webhook, `refs/heads/{branch}`.
pub const CODEBUILD_WEBHOOK_HEAD_REF: &str = "CODEBUILD_WEBHOOK_HEAD_REF";
/// The branch that a pull request is to be merged into, `refs/heads/{branch}`.
pub const CODEBUILD_WEBHOOK_BASE_REF: &str = "CODEBUILD_WEBHOOK_BASE_REF";
/// The branch, where a caller sets it.
pub const BRANCH: &str = "BRANCH";
/// Path of the config file, relative to the source.
pub const APPPACK_TOML: &str = "APPPACK_TOML";
/// Any value turns on debug logs.
pub const APPPACK_DEBUG: &str = "APPPACK_DEBUG";
/// Handed on to the build when set, even if empty.
pub const ALLOW_EOL_SHIMMED_BUILDER: &str = "ALLOW_EOL_SHIMMED_BUILDER";

/// Which engine makes images: `auto`, `pack`, `dockerfile` or `embedded`.
pub const PACKHORSE_ENGINE: &str = "PACKHORSE_ENGINE";
/// How the engine `embedded` compresses new layers of published images: `gzip` or `zstd`.
pub const PACKHORSE_COMPRESSION: &str = "PACKHORSE_COMPRESSION";
/// The address of the registry of buildpacks that the engine `embedded` asks; that which `pack` asks when unset.
pub const PACKHORSE_BUILDPACK_REGISTRY: &str = "PACKHORSE_BUILDPACK_REGISTRY";
/// Where the engine `embedded` keeps builders and caches; `packhorse` in the user's cache folder when unset.
pub const PACKHORSE_CACHE_DIR: &str = "PACKHORSE_CACHE_DIR";
/// A PEM file of certificate authorities to trust besides the usual ones, at build time only.
pub const PACKHORSE_CA_BUNDLE: &str = "PACKHORSE_CA_BUNDLE";
/// The network that build containers use, such as `host`.
pub const PACKHORSE_BUILD_NETWORK: &str = "PACKHORSE_BUILD_NETWORK";
/// The `pack` program to use.
pub const PACKHORSE_PACK: &str = "PACKHORSE_PACK";
/// `1` lets a builder that packhorse does not know run all phases in one container, with registry credentials.
pub const PACKHORSE_TRUST_BUILDER: &str = "PACKHORSE_TRUST_BUILDER";
/// The image that runs the privileged phases of a builder that is not trusted.
pub const PACKHORSE_LIFECYCLE_IMAGE: &str = "PACKHORSE_LIFECYCLE_IMAGE";
/// What to log, in the syntax of `tracing` filters.
pub const PACKHORSE_LOG: &str = "PACKHORSE_LOG";
/// The event bus that phase events go to; the default bus when unset.
pub const PACKHORSE_EVENT_BUS: &str = "PACKHORSE_EVENT_BUS";
/// The URL of the queue that `orchestrator poll` takes events from.
pub const PACKHORSE_QUEUE: &str = "PACKHORSE_QUEUE";
/// The URL of the queue for events that can never be handled.
pub const PACKHORSE_DEAD_LETTER_QUEUE: &str = "PACKHORSE_DEAD_LETTER_QUEUE";
/// The webhook that is told of deploys and failures, in Slack's form.
pub const PACKHORSE_WEBHOOK: &str = "PACKHORSE_WEBHOOK";
/// Where release tasks and services run: `ecs`, or `docker` for the daemon of the machine.
pub const PACKHORSE_PLACE: &str = "PACKHORSE_PLACE";
/// Where `up` and the local commands keep their state; `.packhorse` in the app's folder when unset.
pub const PACKHORSE_STATE_DIR: &str = "PACKHORSE_STATE_DIR";
/// The time limit for tests that set none themselves, in seconds or such as `15m`.
pub const PACKHORSE_TEST_TIMEOUT: &str = "PACKHORSE_TEST_TIMEOUT";
/// The image of the PostgreSQL add-on of tests, where the app names none.
pub const PACKHORSE_POSTGRES_IMAGE: &str = "PACKHORSE_POSTGRES_IMAGE";
/// The image of the Redis add-on of tests, where the app names none.
pub const PACKHORSE_REDIS_IMAGE: &str = "PACKHORSE_REDIS_IMAGE";

/// The address of every AWS service, in place of its own; read by the SDK, as is `AWS_ENDPOINT_URL_{SERVICE}`.
pub const AWS_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";
/// The address of S3, in place of its own.
pub const AWS_ENDPOINT_URL_S3: &str = "AWS_ENDPOINT_URL_S3";
/// A PEM file of certificate authorities to trust besides the machine's.
pub const AWS_CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// Host and port of Lambda's runtime API; Lambda sets it.
pub const AWS_LAMBDA_RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
