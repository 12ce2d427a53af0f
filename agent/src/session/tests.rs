mod controller;
mod enrolment;
mod hostile;
mod stream;
