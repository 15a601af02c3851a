mod cases;
mod list;
mod world;
