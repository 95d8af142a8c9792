//! Every limit, with its unit and where the number comes from.
//! "AWS quota" means the public Lambda quotas page; "ours" means chosen here.

use std::time::Duration;

/// Smallest memory setting, in MB (AWS quota).
pub const MEMORY_MB_MIN: u32 = 128;
/// Largest memory setting, in MB (AWS quota).
pub const MEMORY_MB_MAX: u32 = 10_240;
/// Memory setting where none is given, in MB (AWS default).
pub const MEMORY_MB_DEFAULT: u32 = 128;
/// Timeout where none is given (AWS default).
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// Longest timeout (AWS quota).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(900);
/// How long initialisation may take before it is tried again inside the invocation (AWS quota).
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request payload of a synchronous invocation, in bytes: 6 MiB (AWS quota).
pub const REQUEST_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Largest request of all, in bytes: a package sent inside CreateFunction (AWS quota).
pub const REQUEST_WITH_CODE_BYTES_MAX: usize = 70_167_211;
/// Largest response payload, in bytes: 6 MiB + 100 (AWS quota, as its error message states it).
pub const RESPONSE_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;
/// Largest streamed response, in bytes: 200 MB (AWS quota).
pub const STREAMED_BYTES_MAX: u64 = 200 * 1024 * 1024;
/// Largest payload of an asynchronous invocation, in bytes: 1 MiB (AWS quota since October 2025).
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Environment of a function, keys and values together, in bytes (AWS quota).
pub const ENVIRONMENT_BYTES_MAX: usize = 4 * 1024;
/// Layers of a function (AWS quota).
pub const LAYERS_MAX: usize = 5;
/// Tags of a function (AWS quota).
pub const TAGS_MAX: usize = 50;
/// Access keys of an account (ours; AWS has two for each of its users).
pub const ACCESS_KEYS_MAX: usize = 100;
/// Characters of an access key's label (ours).
pub const LABEL_CHARS_MAX: usize = 100;
/// How long the credentials of an instance last (ours; AWS's last as long at most).
pub const INSTANCE_CREDENTIALS: Duration = Duration::from_secs(12 * 3600);
/// Age from which an instance takes no further request (ours): the longest invocation must end
/// before its credentials do.
pub const INSTANCE_AGE_MAX: Duration = Duration::from_secs(11 * 3600);
/// Policy of a function, in bytes: 20 KB (AWS quota).
pub const POLICY_BYTES_MAX: usize = 20 * 1024;
/// Code and layers unpacked, in bytes (AWS quota).
pub const UNPACKED_BYTES_MAX: u64 = 262_144_000;
/// /tmp where none is given, in MB (AWS default).
pub const TMP_MB_DEFAULT: u32 = 512;
/// Largest /tmp, in MB (AWS quota).
pub const TMP_MB_MAX: u32 = 10_240;
/// Processes and threads of one instance (AWS quota).
pub const PROCESSES_MAX: u64 = 1_024;
/// Open files of one process of an instance (AWS quota).
pub const OPEN_FILES_MAX: u64 = 1_024;
/// Instances of one account that may be busy at once (AWS default).
pub const ACCOUNT_CONCURRENCY: u32 = 1_000;
/// Concurrency that reservations must leave unreserved (AWS quota).
pub const UNRESERVED_CONCURRENCY_MIN: u32 = 100;
/// Length of a handler's name, in bytes (AWS model).
pub const HANDLER_BYTES_MAX: usize = 128;
/// Bytes of log that `LogType=Tail` answers with (AWS documentation).
pub const LOG_TAIL_BYTES: usize = 4 * 1024;
/// One log event, in bytes; longer ones are cut (CloudWatch Logs quota).
pub const LOG_EVENT_BYTES_MAX: usize = 256 * 1024;
/// Log groups that a node keeps (ours).
pub const LOG_GROUPS_MAX: u64 = 10_000;
/// Streams of one log group that were made by name or removed (ours).
pub const LOG_STREAMS_MAX: u64 = 10_000;
/// Tags of a log group (AWS quota).
pub const LOG_GROUP_TAGS_MAX: usize = 50;
/// A batch of log events, in bytes, with [`LOG_EVENT_COST_BYTES`] for each (AWS quota).
pub const LOG_BATCH_BYTES_MAX: usize = 1_048_576;
/// What an event counts besides its text, in bytes (AWS quota).
pub const LOG_EVENT_COST_BYTES: usize = 26;
/// Events of one batch (AWS quota).
pub const LOG_BATCH_EVENTS_MAX: usize = 10_000;
/// Time that the events of one batch may span (AWS quota).
pub const LOG_BATCH_SPAN: Duration = Duration::from_secs(24 * 3600);
/// Age up to which log events are taken (AWS quota).
pub const LOG_EVENT_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);
/// How far ahead of the clock log events may be (AWS quota).
pub const LOG_EVENT_AHEAD_MAX: Duration = Duration::from_secs(2 * 3600);
/// Text of the log events that one answer holds, in bytes (AWS quota).
pub const LOG_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long an idle instance is kept where nothing is known of its arrivals (ours).
pub const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// How long an instance stays thawed after its last reply (ours: the next request of a burst
/// finds it running, and freezing is off the reply path).
pub const FREEZE_AFTER: Duration = Duration::from_millis(200);
/// Share of one CPU that 1,769 MB of memory buy (AWS documentation).
pub const MEMORY_MB_PER_CPU: u32 = 1_769;
