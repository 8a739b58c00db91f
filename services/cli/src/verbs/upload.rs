//! `hashmesh upload`: brings files to the mesh's own store.

use std::{
    ffi::OsString,
    fs::File,
    io::{Seek as _, SeekFrom},
    os::unix::ffi::OsStrExt as _,
};

use clap::Args;
use hashmesh::{
    client::{Client, Uploader},
    tasks::upload_name,
    v1::Upload,
};
use serde_json::json;

use super::{
    failure::{Failure, OK},
    name,
    output::{Format, Output},
    progress::{Progress, ProgressArgs},
    server::ServerArgs,
    stdin::{Input, pieces},
};

/// Bring files to the mesh's own store, and print the URI of each for tasks to refer to.
#[derive(Args, Debug)]
pub(crate) struct UploadArgs {
    /// Files; - is standard input.
    #[arg(value_name = "FILE", required_unless_present = "delete")]
    files: Vec<OsString>,
    /// Go on with an upload that was interrupted. The file must be the same.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Delete uploads instead, by their ids or URIs.
    #[arg(long, value_name = "ID|URI", num_args = 1.., conflicts_with_all = ["files", "id"])]
    delete: Vec<String>,
    /// A URI per line, or an object per line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl UploadArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        if self.id.is_some() && self.files.len() != 1 {
            return Err(Failure::Usage("--id goes on with one file; name it and no other".to_owned()));
        }
        let client = self.server.client()?;
        for upload in &self.delete {
            let id = upload_name(upload.as_bytes()).map_or(upload.as_str(), |named| named.upload_id);
            client.delete_upload(id).await?;
        }
        let mut output = Output::new();
        for file in &self.files {
            let progress = self.progress.progress(false);
            let uploaded = one(&client, file, self.id.as_deref(), &progress).await;
            progress.finish();
            put(self.output, file, &uploaded?, &mut output)?;
            output.flush().await?;
        }
        Ok(OK)
    }
}

fn put(format: Format, file: &OsString, upload: &Upload, output: &mut Output) -> Result<(), Failure> {
    if format == Format::Text {
        output.buffer().extend_from_slice(format!("{}\n", upload.uri).as_bytes());
        return Ok(());
    }
    let (key, name) = name::json_key(file.as_bytes());
    output.json_line(&json!({
        key: name,
        "uri": upload.uri,
        "upload_id": upload.upload_id,
        "size": upload.stored_bytes,
        "expires": upload.expire_time.map(|time| time.to_string()),
    }))
}

/// Uploads one file, or what is left of it.
async fn one(client: &Client, file: &OsString, id: Option<&str>, progress: &Progress) -> Result<Upload, Failure> {
    let shown = name::display(file.as_bytes());
    let opened = match file.as_bytes() {
        b"-" => None,
        _ => Some(File::open(file).map_err(|error| Failure::local(&format!("cannot read {shown}"), &error))?),
    };
    let mut uploader = client.upload(id).await?;
    let id = uploader.upload().upload_id.clone();
    progress.aside(|| eprintln!("hashmesh: upload {id} of {shown}"));
    tokio::select! {
        sent = send(&mut uploader, opened, &shown, progress) => sent?,
        _ = tokio::signal::ctrl_c() => {
            let text = format!("interrupted; go on with: hashmesh upload --id {id} {shown}");
            return Err(Failure::Interrupted(text));
        }
    }
    Ok(uploader.finish().await?)
}

async fn send(uploader: &mut Uploader, file: Option<File>, shown: &str, progress: &Progress) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::local(&format!("cannot read {shown}"), &error);
    let offset = uploader.offset();
    progress.done(offset);
    let (input, mut skip) = match file {
        None => (Input::Stdin, offset),
        Some(mut file) => {
            let skipped = file.seek(SeekFrom::Start(offset)).is_ok();
            (Input::File(file), if skipped { 0 } else { offset })
        }
    };
    let mut pieces = pieces(input)?;
    while let Some(piece) = pieces.recv().await {
        let mut piece = piece.map_err(failed)?;
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        drop(piece.split_to(skipped));
        skip -= skipped as u64;
        if piece.is_empty() {
            continue;
        }
        let length = piece.len() as u64;
        uploader.write(piece).await?;
        progress.done(length);
    }
    Ok(())
}
