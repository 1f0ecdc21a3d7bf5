# The gateway with offline speech. Build: docker build -t vocelio .
# Run: docker run -p 8080:8080 -v vocelio:/srv/vocelio/.vocelio vocelio     (or -e VOCELIO_DATABASE_URL=postgresql+asyncpg://...)
FROM python:3.13-slim
RUN useradd --create-home vocelio
WORKDIR /srv/vocelio
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY vocelio vocelio
COPY examples examples
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[local]' && install -d -o vocelio .vocelio
USER vocelio
ENV PORT=8080
EXPOSE 8080
CMD ["vocelio", "serve", "--host", "0.0.0.0"]
