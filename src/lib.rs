//! packhorse: Heroku-like deploys in your own AWS account, and on your laptop.
