//! What a client sees when the web process cannot answer: the cause, and what to look at.

use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

/// Why a request was not answered by the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No release runs yet; the text says what is being done about it.
    NotYet(String),
    /// The web process does not take connections.
    NotReached(String),
    /// The web process ended the connection in the middle.
    CutOff(String),
    /// The method makes sense for proxies only.
    NotHere,
}

impl Trouble {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotYet(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotReached(_) | Self::CutOff(_) => StatusCode::BAD_GATEWAY,
            Self::NotHere => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// What happened, and what to do.
    fn lines(&self) -> [String; 2] {
        let look = "Its last words are in the terminal in which `packhorse up` runs.".to_owned();
        match self {
            Self::NotYet(doing) => {
                let what = "No release of this app runs yet.".to_owned();
                [what, if doing.is_empty() { "`packhorse up` is about to build it.".to_owned() } else { doing.clone() }]
            }
            Self::NotReached(cause) => [format!("The web process does not take connections: {cause}."), look],
            Self::CutOff(cause) => [format!("The web process did not answer: {cause}."), look],
            Self::NotHere => ["This method is not for an app.".to_owned(), String::new()],
        }
    }

    /// Draws the page: HTML for browsers, text for everybody else.
    pub(super) fn page(&self, request: &HeaderMap) -> Response<String> {
        let status = self.status();
        let [what, then] = self.lines();
        let browser =
            request.get(ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains("text/html"));
        let waits = matches!(self, Self::NotYet(_));
        let body = if browser {
            let again = if waits { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
            format!(
                "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">{again}<title>{status}</title></head>\
                 <body><h1>{status}</h1><p>{}</p><p>{}</p></body></html>\n",
                escaped(&what),
                escaped(&then)
            )
        } else {
            format!("{status}\n{what}\n{then}\n")
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let kind = if browser { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if waits {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_read_text_and_browsers_a_page_that_looks_again() {
        let waiting = Trouble::NotYet("Build 1: <test> started".to_owned());
        let text = waiting.page(&HeaderMap::new());
        assert_eq!(text.status(), 503);
        assert_eq!(text.body(), "503 Service Unavailable\nNo release of this app runs yet.\nBuild 1: <test> started\n");
        let browser = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html,*/*;q=0.8"))]);
        let page = waiting.page(&browser);
        assert!(
            page.body().contains("&lt;test&gt;") && page.body().contains("http-equiv=\"refresh\""),
            "{}",
            page.body()
        );

        let broken = Trouble::NotReached("connection refused".to_owned()).page(&browser);
        assert_eq!(broken.status(), 502);
        assert!(broken.body().contains("connection refused") && !broken.body().contains("refresh"));
    }
}
