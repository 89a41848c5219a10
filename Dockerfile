# A bundle behind HTTP. Build: docker build -t shop-service .
# Run: docker run -p 8000:8000 -v $PWD/exports:/exports:ro shop-service /exports/shop
# Mount the folder above the bundle: a newer export takes the place of the bundle's folder, and a mount of that folder
# itself would go on showing the one that is gone, so that the service never saw the newer one.
FROM python:3.11-slim
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY src /src/src
COPY conf /src/conf
RUN python -m pip install --no-cache-dir -c /src/constraints.txt "/src[service]" && rm -r /src
RUN useradd --create-home --uid 10001 service
USER service
WORKDIR /home/service
ENV OMP_NUM_THREADS=1
EXPOSE 8000
HEALTHCHECK --interval=10s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["shopkeeper", "serve", "--host", "0.0.0.0"]
CMD ["/bundle"]
