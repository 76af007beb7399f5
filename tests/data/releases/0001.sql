SELECT run_id, published_at, user_id, rank, movie_id, title, genres, score, source FROM current_recommendations;
SELECT run_id, published_at, movie_id, title, rank, similar_movie_id, similar_title, similarity FROM current_similar_movies;
SELECT run_id, finished_at, status, model, protocol, segment, metric, k, value, ci_low, ci_high, users FROM model_metrics;
SELECT run_id, job, scheduled_for, status, started_at, finished_at, seconds, ratings, users, movies, error FROM run_history;
SELECT run_id, published_at, age_seconds, newest_rating_at, newest_ingest_at FROM freshness;
SELECT user_id, movie_id, title, rating, rated_at FROM rating_events;
