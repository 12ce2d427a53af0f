mod controller;
mod enrolment;
mod stream;
