//! Where the bytes of uploads are: in a directory, or in a bucket of an S3-compatible store. Gateways write them, Workers
//! read them, Queues delete them; which bytes count is in the Queue's tables.
//!
//! ```text
//! TENANT/UPLOAD_ID/WWWWWWWW-NNNNNNNN   part N of what writer W stored, in hexadecimal
//! TENANT/UPLOAD_ID/layout              an encoded UploadLayout, once the upload has all its bytes
//! ```
//!
//! Every writer of an upload has a number of its own and puts parts under names that hold it. So a writer that was
//! replaced, and whose last bytes arrive late, never touches a part that counts; nor does any store need conditional
//! writes. A Worker needs the `layout` and nothing else.

mod error;
mod layout;
mod place;
mod read;
mod store;

pub use self::{
    error::{PlaceError, StoreError},
    layout::{PartRange, parts, valid},
    place::{S3Access, UploadPlace},
    read::PartReader,
    store::{UploadKey, UploadStore},
};
